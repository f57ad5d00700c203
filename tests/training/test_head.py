"""Training the head on features."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tledge.backbones import open_backbone
from tledge.backbones.fast_inference import TOLERANCE
from tledge.cache import CachedRows, RowCache
from tledge.datasets.folder import open_folder
from tledge.datasets.prepare import Dataset, prepare_dataset
from tledge.errors import InputError
from tledge.outputs import MARK
from tledge.progress import Silent
from tledge.training.augmentation_settings import PRESETS
from tledge.training.build import build
from tledge.training.features import PROOF_PHOTOS, features_of, in_a_view
from tledge.training.fit import HISTORY_COLUMNS, Head, fit_head
from tledge.training.recipe import Recipe
from tledge.training.resolve import resolve

pytestmark = pytest.mark.usefixtures("empty_cache")
ENVIRONMENT = 3
LABELS = np.arange(120) % 3
TRAIN, VALIDATION = np.arange(90), np.arange(90, 120)


def _features(scale: float = 1.0, spoilt: tuple[int, ...] = ()) -> CachedRows:
    """Three classes, each around its own point of 4 dimensions. ``spoilt`` rows hold an infinity."""
    rng = np.random.default_rng(0)
    values = (np.eye(4)[LABELS] + rng.normal(0, 0.1, (120, 4))).astype(np.float32) * np.float32(scale)
    values[list(spoilt), 0] = np.inf
    keys = [bytes([number]) * 32 for number in range(120)]
    cache = RowCache(f"features-{scale}-{spoilt}", (4,), np.float32)
    cache.add(zip(keys, values, strict=True), 120)
    return cache.rows(keys)


def _fit(recipe: Recipe, seed: int = 0, scale: float = 1.0) -> Head:
    return fit_head(_features(scale), LABELS, TRAIN, VALIDATION, 3, recipe, seed, Silent())


def test_a_head_learns_what_can_be_told_apart() -> None:
    head = _fit(Recipe())
    logits = head.logits(np.asarray(_features()[VALIDATION], np.float32))
    assert np.array_equal(np.argmax(logits, axis=1), LABELS[VALIDATION])
    ((kernel, bias),) = head.layers
    assert (kernel.shape, bias.shape) == ((4, 3), (3,))


def test_a_hidden_layer_learns_what_a_line_can_not_part() -> None:
    rng = np.random.default_rng(0)
    values = rng.choice([-1.0, 1.0], (120, 4)).astype(np.float32) + rng.normal(0, 0.05, (120, 4)).astype(np.float32)
    labels = (values[:, 0] * values[:, 1] > 0).astype(np.int64)  # the exclusive or of two signs
    keys = [bytes([number]) * 32 for number in range(120)]
    cache = RowCache("exclusive-or", (4,), np.float32)
    cache.add(zip(keys, values, strict=True), 120)
    found = {}
    for head in ("linear", "mlp:16"):
        recipe = Recipe(head=head, max_epochs=60, patience=60, learning_rate=0.02, dropout=0)
        fitted = fit_head(cache.rows(keys), labels, TRAIN, VALIDATION, 2, recipe, 0, Silent())
        found[head] = np.mean(np.argmax(fitted.logits(values[VALIDATION]), axis=1) == labels[VALIDATION])
    assert [layer[0].shape for layer in fitted.layers] == [(4, 16), (16, 2)]
    assert found["mlp:16"] == 1.0
    assert found["linear"] < 0.9


def test_class_weights_count_a_rare_class_as_much_as_a_frequent_one() -> None:
    from tledge.training.batches import class_weights

    labels = np.array([0] * 90 + [1] * 10)
    weights = class_weights(labels, 2, balanced=True)
    assert weights[labels].mean() == pytest.approx(1.0)
    assert weights[0] * 90 == pytest.approx(weights[1] * 10)
    assert class_weights(labels, 2, balanced=False).tolist() == [1, 1]
    assert np.isfinite(class_weights(np.array([0, 0]), 3, balanced=True)).all()  # a class without photos


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    recipe = Recipe(head="mlp:8", max_epochs=3, dropout=0.5)
    first, same, other = _fit(recipe), _fit(recipe), _fit(recipe, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(first.layers[0], same.layers[0], strict=True))
    assert first.history == same.history
    assert not np.array_equal(first.layers[0][0], other.layers[0][0])


def test_the_weights_kept_are_those_of_the_best_epoch() -> None:
    # A rate this high overshoots, so the best epoch is not the last.
    head = _fit(Recipe(head="mlp:8", max_epochs=40, patience=3, learning_rate=0.5, label_smoothing=0.1))
    losses = [row["val_loss"] for row in head.history]
    assert head.best_epoch == int(np.argmin(losses)) + 1 < len(losses)
    assert len(losses) == head.best_epoch + 3  # patience
    logits = head.logits(np.asarray(_features()[VALIDATION], np.float32)).astype(np.float64)
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    smoothed = np.eye(3)[LABELS[VALIDATION]] * 0.9 + 0.1 / 3
    # Keras computes the same mean in float32.
    assert -(smoothed * log_probabilities).sum(axis=1).mean() == pytest.approx(min(losses), rel=1e-4)


def test_the_best_epoch_is_kept_also_where_the_epochs_run_out() -> None:
    overshooting = {"head": "mlp:8", "learning_rate": 0.5, "label_smoothing": 0.1}
    stopped = _fit(Recipe(max_epochs=40, patience=3, **overshooting))
    ran_out = _fit(Recipe(max_epochs=stopped.best_epoch + 1, patience=40, **overshooting))
    assert len(ran_out.history) == stopped.best_epoch + 1
    assert ran_out.best_epoch == stopped.best_epoch
    assert np.array_equal(ran_out.layers[0][0], stopped.layers[0][0])
    assert all(set(row) == set(HISTORY_COLUMNS) for row in ran_out.history)


def test_a_loss_that_is_not_finite_is_an_error_with_the_way_out() -> None:
    features = _features(spoilt=(95,))  # a validation photo: features are centred and scaled by the training ones
    with pytest.raises(InputError, match=r"training diverged: .* Lower --learning-rate 10"):
        fit_head(features, LABELS, TRAIN, VALIDATION, 3, Recipe(head="mlp:8", learning_rate=10), 0, Silent())
    with pytest.raises(InputError, match="features of validation photos that are not finite .* another --backbone"):
        fit_head(features, LABELS, TRAIN, VALIDATION, 3, Recipe(), 0, Silent())


@pytest.mark.parametrize("features", [{"scale": 1e30}, {"spoilt": (3,)}])
def test_features_that_are_not_finite_or_too_large_are_the_backbones_fault(features: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="features that are not finite or too large. Choose another --backbone"):
        fit_head(_features(**features), LABELS, TRAIN, VALIDATION, 3, Recipe(), 0, Silent())


def test_features_that_are_all_the_same_are_the_backbones_fault() -> None:
    with pytest.raises(InputError, match="the same features for every training photo. Choose another --backbone"):
        _fit(Recipe(), scale=0.0)


@pytest.mark.parametrize("scale", [1e-3, 1e4])
def test_the_scale_of_the_features_does_not_matter(scale: float) -> None:
    recipe = Recipe()
    plain, scaled = _fit(recipe), _fit(recipe, scale=scale)
    validation = np.asarray(_features()[VALIDATION], np.float32)
    # float32 rounds the features once more after the scaling.
    assert scaled.logits(validation * np.float32(scale)) == pytest.approx(plain.logits(validation), rel=1e-3, abs=1e-3)


def test_options_that_are_not_given_keep_the_recipes_defaults() -> None:
    assert resolve("head", {"dropout": None, "max_epochs": 7}) == Recipe(max_epochs=7)


@pytest.fixture
def pets(photo_folder: Callable[..., Path]) -> Dataset:
    """40 photos at 16 x 16."""
    return prepare_dataset(open_folder(photo_folder({"cat": 20, "dog": 20})), 16, 0, Silent())


def test_features_are_the_backbones_own_within_the_tolerance(tiny_backbone: Path, pets: Dataset) -> None:
    backbone = open_backbone(str(tiny_backbone))
    rows, record = features_of(backbone, pets, np.arange(len(pets.ids)), Silent())
    pixels = np.asarray(pets.pixels[:], np.float32)
    expected = np.asarray(backbone.layer(pixels / 255))
    assert np.abs(rows[:] - expected).max() <= TOLERANCE * np.ptp(expected)
    assert record.proof_photos == PROOF_PHOTOS
    assert record.output_range > 0
    assert record.max_abs_difference <= TOLERANCE * record.output_range


def test_features_are_computed_once(tiny_backbone: Path, pets: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    from tledge.backbones.apart import Apart

    backbone = open_backbone(str(tiny_backbone))
    first = features_of(backbone, pets, np.arange(len(pets.ids)), Silent())[0][:]
    monkeypatch.setattr(Apart, "convert", None)  # a second computation would be TensorFlow's
    rows, record = features_of(backbone, pets, np.arange(len(pets.ids)), Silent())
    assert record.runtime == "LiteRT with XNNPACK on the CPU"
    assert np.array_equal(rows[:], first)


@pytest.mark.long
def test_features_that_differ_from_the_backbones_are_thrown_away_with_a_warning(
    tiny_backbone: Path, pets: Dataset
) -> None:
    backbone = open_backbone(str(tiny_backbone))
    features_of(backbone, pets, np.arange(len(pets.ids)), Silent())
    changed = replace(backbone, layer=lambda pixels, training=False: backbone.layer(pixels) * 1.001, apart=None)
    progress = Silent()
    rows, record = features_of(changed, pets, np.arange(len(pets.ids)), progress)
    assert record.runtime == "TensorFlow on the CPU"
    assert "features are computed by TensorFlow, slower: LiteRT differs" in progress.warnings[0]
    expected = np.asarray(changed.layer(np.asarray(pets.pixels[:], np.float32) / 255))
    assert np.abs(rows[:] - expected).max() <= TOLERANCE * np.ptp(expected)


def test_a_head_learns_from_every_view_of_a_photo() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1, (120, 4)).astype(np.float32)
    telling = (np.eye(4)[LABELS] + rng.normal(0, 0.1, (120, 4))).astype(np.float32)
    cache = RowCache("views", (4,), np.float32)
    keys = [bytes([number]) * 32 for number in range(240)]
    cache.add(zip(keys, np.concatenate([noise, telling]), strict=True), 240)
    labels, told = np.tile(LABELS, 2), 120 + VALIDATION

    def accuracy(train: np.ndarray) -> float:
        recipe = Recipe(head="mlp:16", max_epochs=15, patience=15, learning_rate=0.1, dropout=0)
        head = fit_head(cache.rows(keys), labels, train, told, 3, recipe, 0, Silent())
        return float(np.mean(np.argmax(head.logits(telling[VALIDATION]), axis=1) == LABELS[VALIDATION]))

    assert accuracy(TRAIN) < 0.9
    assert accuracy(np.stack([TRAIN, TRAIN, 120 + TRAIN])) == 1.0


@pytest.mark.parametrize("head", ["linear", "mlp:8"])
def test_one_view_of_each_photo_is_what_a_list_of_photos_is(head: str) -> None:
    recipe = Recipe(head=head, max_epochs=3)
    views = fit_head(_features(), LABELS, np.stack([TRAIN, TRAIN]), VALIDATION, 3, recipe, 0, Silent())
    # A linear head sees both at once, and adds them up in another order.
    assert views.layers[0][0] == pytest.approx(_fit(recipe).layers[0][0], rel=1e-4, abs=0 if head == "mlp:8" else 1e-6)


@pytest.mark.long
def test_features_of_views_are_the_backbones_own_of_the_changed_photos(tiny_backbone: Path, pets: Dataset) -> None:
    from tledge.training.batches import view

    backbone, all_rows, some = open_backbone(str(tiny_backbone)), np.arange(len(pets.ids)), np.array([7, 3, 30])
    views = [in_a_view(pets, some, PRESETS["light"], 5, number) for number in range(2)]
    rows, _ = features_of(backbone, pets, all_rows, Silent(), views)
    plain, _ = features_of(backbone, pets, all_rows, Silent())
    assert np.array_equal(rows[: len(all_rows)], plain[:])
    for number, found in enumerate(np.split(rows[len(all_rows) :], 2)):
        pixels = np.concatenate(list(view(pets.pixels, some, PRESETS["light"], 5, number)))
        expected = np.asarray(backbone.layer(pixels.astype(np.float32) / 255))
        assert np.abs(found - expected).max() <= TOLERANCE * np.ptp(expected)
        assert np.abs(found - plain[some]).max() > 0.01


def test_a_view_is_kept_by_all_that_it_depends_on(pets: Dataset) -> None:
    rows, light = np.array([7, 3, 30]), PRESETS["light"]
    keys = in_a_view(pets, rows, light, 5, 0).keys
    assert keys == in_a_view(pets, rows, light, 5, 0).keys
    assert keys[:2] == in_a_view(pets, rows[:2], light, 5, 0).keys
    others = [
        in_a_view(pets, rows, PRESETS["strong"], 5, 0),
        in_a_view(pets, rows, light, 6, 0),
        in_a_view(pets, rows, light, 5, 1),
        in_a_view(pets, rows + 1, light, 5, 0),
        in_a_view(replace(pets, content_sha256=pets.content_sha256[::-1]), rows, light, 5, 0),
    ]
    for other in others:
        assert not set(keys) & set(other.keys)


@pytest.mark.long  # it builds twice
def test_a_build_with_views_adds_views_of_training_photos_alone_and_is_repeatable(
    tiny_backbone: Path,
    photo_folder: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = str(photo_folder({"cat": 40, "dog": 20}))
    options = {"max_epochs": 4, "patience": 2, "head": "mlp:8", "class_weights": True}
    histories, features = [], []
    for name, views in (("plain", None), ("one", 3), ("two", 3)):
        monkeypatch.setenv("TLEDGE_CACHE_DIR", str(tmp_path / "cache" / name))  # nothing comes from the build before
        given = {"augment": "light", "views": views} if views else {}
        run = build(
            folder, backbone=str(tiny_backbone), recipe=resolve("head", {**options, **given}),
            run=name, artifacts=tmp_path / "artifacts",
        )  # fmt: skip
        histories.append((run.folder / "history.csv").read_text())
        assert (run.folder / "augmentation.png").is_file() == bool(views)
        (namespace,) = (tmp_path / "cache" / name).glob("features-v*/*")
        features.append(RowCache(f"{namespace.parent.name}/{namespace.name}", (48,), np.float32))
    assert histories[0] != histories[1] == histories[2]
    counts = {split: record.num_photos for split, record in run.manifest.splits.items()}
    assert len(features[0]) == counts["train"] + counts["validation"]
    assert len(features[1]) == len(features[0]) + 3 * counts["train"]


@pytest.mark.long
def test_what_does_not_fit_into_memory_is_refused_before_anything_is_computed(
    save_module: Callable[..., Path], photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    import tensorflow as tf

    module = save_module(lambda pixels: tf.tile(tf.reshape(pixels, (-1, 768)), (1, 1300)))
    limited = "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**34, 2**34)); from tledge.cli.main import main; main()"
    options = [
        "--backbone",
        str(module),
        "--batch-size",
        "65536",
        "--head",
        "mlp:8",
        "--artifacts",
        str(tmp_path / "artifacts"),
    ]
    command = [sys.executable, "-c", limited, "build", "--dataset", "digits", *options]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == ENVIRONMENT, ended.stderr
    assert (
        "too little memory: training the head mlp:8 on batches of 65,536 x 998,400 features needs about "
        in ended.stderr
    )
    assert "Use less than --batch-size 65536" in ended.stderr
    assert "computing features" not in ended.stderr
    assert [path.name for path in (tmp_path / "artifacts").iterdir()] == [MARK]


@pytest.mark.long
def test_a_head_whose_weights_do_not_fit_into_memory_is_refused(tiny_backbone: Path, tmp_path: Path) -> None:
    limited = "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**34, 2**34)); from tledge.cli.main import main; main()"
    options = [
        "--backbone",
        str(tiny_backbone),
        "--head",
        "mlp:40000,40000",
        "--artifacts",
        str(tmp_path / "artifacts"),
    ]
    command = [sys.executable, "-c", limited, "build", "--dataset", "digits", *options]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == ENVIRONMENT, ended.stderr
    assert "too little memory: training the head mlp:40000,40000 on batches" in ended.stderr
    assert "a smaller --head" in ended.stderr


@pytest.mark.long
def test_views_that_do_not_fit_on_the_disk_are_refused_before_anything_is_computed(
    tledge: Callable[..., Any],
    small_disk: Callable[[int], Path],
    tiny_backbone: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = small_disk(8_000_000)
    monkeypatch.setenv("TLEDGE_CACHE_DIR", str(disk))
    options = ["--dataset", "digits", "--backbone", tiny_backbone, "--artifacts", tmp_path / "artifacts"]
    outcome = tledge("build", *options, "--recipe", "head", "--augment", "light", "--views", "50")
    assert outcome.code == ENVIRONMENT
    # 1,797 photos of 768 bytes, and 192 bytes of features each, 26 times for the half that is surely trained on.
    assert re.search(f"no space left on the disk: {disk} needs 10 MB", outcome.err)
    assert [path for path in disk.rglob("*") if path.is_file()] == []  # no photo was decoded
    # The small disk is another process's: one that is confined does not reach it.
    monkeypatch.setenv("TLEDGE_CACHE_DIR", str(tmp_path / "cache"))
    assert tledge("build", *options, "--recipe", "head", "--augment", "light", "--views", "2").code == 0
