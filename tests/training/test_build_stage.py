"""build: what stands in a run."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tledge.backbones.fast_inference import TOLERANCE
from tledge.datasets.run_photos import load_split
from tledge.progress import Silent
from tledge.records import SPLITS
from tledge.run import Run
from tledge.training.build import build
from tledge.training.recipe import Recipe


def _reference(run: Run) -> dict[str, np.ndarray]:
    with np.load(run.folder / "reference.npz", allow_pickle=False) as stored:
        return dict(stored)


@pytest.mark.long
def test_two_builds_with_one_seed_give_the_same_head_and_the_same_answers(
    tiny_backbone: Path, photo_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf

    folder = str(photo_folder({"cat": 40, "dog": 40}))
    runs = []
    for name, seed in (("one", 5), ("two", 5), ("other", 6)):
        monkeypatch.setenv("TLEDGE_CACHE_DIR", str(tmp_path / "cache" / name))  # nothing comes from the build before
        runs.append(
            build(
                folder, backbone=str(tiny_backbone), recipe=Recipe(max_epochs=3), seed=seed, run=name,
                artifacts=tmp_path / "artifacts",
            )
        )  # fmt: skip
    one, two, other = ([np.asarray(v) for v in _head(tf, run)] for run in runs)
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert not np.array_equal(one[0], other[0])
    first, second, third = (_reference(run) for run in runs)
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[key], second[key]) for key in first)
    assert first["ids"].tolist() != third["ids"].tolist()
    assert runs[0].manifest.splits == runs[1].manifest.splits
    assert runs[0].manifest.dataset == runs[1].manifest.dataset
    assert runs[0].manifest.splits != runs[2].manifest.splits


def _head(tf: object, run: Run) -> tuple[object, object]:
    loaded = tf.saved_model.load(str(run.folder / "model"))  # type: ignore[attr-defined]
    kernel, bias = loaded.head[0]
    return kernel, bias


def test_reference_logits_are_the_saved_models_own_on_the_test_split(built: Run) -> None:
    import tensorflow as tf

    photos = load_split(built, "test", Silent())
    stored = _reference(built)
    assert tuple(stored["ids"]) == photos.ids
    assert np.array_equal(stored["labels"], photos.labels)
    served = tf.saved_model.load(str(built.folder / "model")).signatures["serving_default"]
    logits = served(pixels=tf.constant(photos.pixels[:32]))["logits"].numpy()
    # The same function on the same device; only the batch around a photo may differ from the build's.
    assert np.abs(logits - stored["logits"][:32]).max() <= 1e-4 * np.ptp(stored["logits"])
    accuracy = float(np.mean(np.argmax(stored["logits"], axis=1) == photos.labels))
    assert accuracy == built.manifest.metrics["test"].accuracy


def test_the_manifest_counts_what_the_splits_hold(built: Run) -> None:
    manifest = built.manifest
    assert sum(record.num_photos for record in manifest.splits.values()) == manifest.dataset.num_photos == 1797
    for name in SPLITS:
        photos = load_split(built, name, Silent())
        assert len(photos.ids) == manifest.splits[name].num_photos
        assert np.bincount(photos.labels).tolist() == list(manifest.splits[name].class_counts.values())
    assert manifest.splits["train"].num_photos / 1797 == pytest.approx(0.70, abs=0.04)  # three standard deviations
    assert manifest.labels == [str(digit) for digit in range(10)]
    assert manifest.device.kind in ("CPU", "GPU")
    assert manifest.device.name
    assert len({record.sha256 for record in manifest.splits.values()}) == 3


def test_the_proof_of_the_fast_features_is_within_the_tolerance(built: Run) -> None:
    record = built.manifest.features
    assert record.max_abs_difference <= TOLERANCE * record.output_range


def test_training_curves_have_a_row_an_epoch_and_a_picture(built: Run) -> None:
    with (built.folder / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == list(range(1, built.manifest.num_epochs + 1))
    # The validation photos are too few to choose alone: training photos that were held out have a part in it.
    losses = [float(row["val_loss"]) for row in rows]
    assert losses[built.manifest.best_epoch - 1] < losses[0] / 4
    with Image.open(built.folder / "history.png") as picture:
        assert picture.width > 500


@pytest.mark.long
def test_a_run_without_a_name_gets_one_from_its_data_and_backbone(
    tiny_backbone: Path, photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder = photo_folder({"cat": 40, "dog": 40}, name="meine Löwen")
    run = build(str(folder), backbone=str(tiny_backbone), recipe=Recipe(max_epochs=1), artifacts=tmp_path / "artifacts")
    assert run.name.startswith("meine-L-wen-module")
    assert run.manifest.name == run.name
