"""build with every recipe, on real small data, and what it leaves behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from event_files import epochs_told
from PIL import Image

from tledge.backbones import Backbone, open_backbone
from tledge.cache import CachedRows
from tledge.classifier.network import load_network
from tledge.datasets import open_source
from tledge.datasets.prepare import prepare_dataset
from tledge.errors import InputError
from tledge.outputs import MARK
from tledge.preprocessing import PIXEL_SCALE
from tledge.progress import Silent
from tledge.run import open_run
from tledge.stages import export, verify
from tledge.training import by_network
from tledge.training.build import build, go_on
from tledge.training.method import Task
from tledge.training.recipe import RECIPES
from tledge.training.resolve import resolve

pytestmark = pytest.mark.long  # it trains networks

Tledge = Callable[..., Any]
SHORT = {"max_epochs": 2, "horizontal_flip": False}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("artifacts")


@pytest.fixture(scope="module")
def finetuned(root: Path) -> Any:
    """Digits on the bundled MobileNetV2, its last blocks fine-tuned on stored activations. Read only."""
    recipe = resolve("finetune", {**SHORT, "views": 2})
    return build("digits", backbone="bundled", recipe=recipe, run="finetuned", artifacts=root)


def test_layers_above_a_cut_are_trained_and_those_below_stay(
    finetuned: Any, bundled: tuple[Backbone, Backbone]
) -> None:
    assert finetuned.manifest.metrics["test"].accuracy > 0.95
    assert finetuned.manifest.recipe["unfreeze_from"] == "block_13"
    before = bundled[1].graph
    after = load_network(finetuned.folder / "network")
    kernel = "block_12_project", "block_13_project"
    below, above = ([net.get_layer(name).get_weights()[0] for net in (before, after)] for name in kernel)
    assert np.array_equal(*below)
    assert not np.array_equal(*above)


def test_what_builds_the_network_again_computes_the_originals_answers(finetuned: Any) -> None:
    from tledge.datasets.run_photos import load_split

    photos = load_split(finetuned, "test", Silent())
    network = load_network(finetuned.folder / "network")
    with np.load(finetuned.folder / "reference.npz") as stored:
        expected = stored["logits"][:32]
    found = network(np.asarray(photos.pixels[:32], np.float32) * np.float32(PIXEL_SCALE)).numpy()
    assert np.abs(found - expected).max() <= 1e-4 * np.ptp(expected)


def test_a_person_can_see_what_the_network_saw(finetuned: Any) -> None:
    with Image.open(finetuned.folder / "augmentation.png") as sheet:
        assert sheet.width > 7 * 64
        assert sheet.height > 5 * 64


def test_a_finetuned_run_is_exported_and_verified(finetuned: Any) -> None:
    from tledge.verification.measurement import Wanted

    export(finetuned, ["tflite-float32", "tflite-int8", "onnx-float32"])
    report = verify(finetuned, wanted=Wanted(accuracy_only=True, limits={"max_accuracy_drop_points": 5}))
    assert report.verdict != "failed"
    floats = [row.drift for row in report.rows if row.format.endswith("float32")]
    assert all(drift and drift.agreement == 1.0 for drift in floats)


@pytest.mark.parametrize("how", [{"method": "whole"}, {"method": "cut", "unfreeze_from": "c5"}])
def test_the_test_split_has_no_part_in_training(tmp_path: Path, empty_cache: Path, how: dict[str, str]) -> None:
    # The same data set twice, but for the test photos: one time all of them show the first training photo.
    from tledge.tensorflow_setup import tensorflow

    data = prepare_dataset(open_source("digits"), 28, 0, Silent())
    places = data.pixels._places.copy()
    places[data.splits.rows["test"]] = places[data.splits.rows["train"][0]]
    changed = replace(data, pixels=CachedRows(data.pixels._cache, places))
    recipe = RECIPES["scratch"].model_copy(update={"max_epochs": 1, **how})
    made = []
    for name, given in (("as it is", data), ("changed", changed)):
        tensorflow(0)
        (tmp_path / name).mkdir()
        backbone = open_backbone("lenet", seed=0)
        made.append(by_network.train(Task(backbone, given, recipe, 0, tmp_path / name, None, Silent())))
    one, two = (load_network(tmp_path / name / "network").get_weights() for name in ("as it is", "changed"))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert not np.array_equal(made[0].test_logits, made[1].test_logits)
    assert np.ptp(made[1].test_logits, axis=0).max() < 1e-4


def test_a_network_is_trained_from_scratch_with_the_same_seed_to_the_same_weights(root: Path) -> None:
    recipe = RECIPES["scratch"].model_copy(update={"max_epochs": 1})
    runs = [
        build("digits", backbone="lenet", recipe=recipe, run=f"lenet{number}", artifacts=root, seed=3)
        for number in range(2)
    ]
    one, two = (load_network(run.folder / "network").get_weights() for run in runs)
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert runs[0].manifest.features is None
    assert runs[0].manifest.num_epochs == 1


def test_an_opaque_module_is_trained_as_a_whole_and_says_what_it_can_not(
    photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    from tledge.tensorflow_setup import tensorflow

    tf = tensorflow()
    kernel = tf.Variable(tf.random.stateless_normal((3, 3, 3, 8), (0, 0)))

    @tf.function(input_signature=[tf.TensorSpec((None, 16, 16, 3))], autograph=False)
    def features(pixels: Any) -> Any:
        return tf.reduce_mean(tf.nn.relu(tf.nn.conv2d(pixels, kernel, 2, "SAME")), (1, 2))

    saved = tf.train.Checkpoint(variables=[kernel], trainable_variables=[kernel], regularization_losses=[])
    saved.__call__ = features
    module = tmp_path / "module"
    tf.saved_model.save(saved, str(module))
    folder = photo_folder({"cat": 30, "dog": 30})
    progress = Silent()
    recipe = RECIPES["best"].model_copy(update={"max_epochs": 1})
    run = build(
        str(folder), backbone=str(module), recipe=recipe, run="opaque", artifacts=tmp_path / "a", progress=progress
    )
    assert any("the backbone stays opaque" in warning for warning in progress.warnings)
    assert not (run.folder / "network").exists()
    loaded = tf.saved_model.load(str(run.folder / "model"))
    trained = next(weight for weight in loaded.weights if weight.shape == kernel.shape)
    assert not np.array_equal(trained, kernel)
    with pytest.raises(InputError, match="An opaque backbone can't be cut: use --recipe head or best"):
        build(str(folder), backbone=str(module), recipe=RECIPES["finetune"], artifacts=tmp_path / "a")
    assert [path.name for path in (tmp_path / "a").glob(".*")] == [MARK]


def test_copies_of_an_opaque_backbone_are_refused_before_any_photo_is_read(
    tledge: Tledge, photo_folder: Callable[..., Path], tiny_backbone: Path, empty_cache: Path, tmp_path: Path
) -> None:
    options = ["--dataset", photo_folder({"cat": 30, "dog": 30}), "--backbone", tiny_backbone, "--recipe", "best"]
    outcome = tledge("build", *options, "--strategy=mirrored", "--artifacts", tmp_path / "a")
    assert outcome.code == 2, outcome.err
    assert "looked for a MobileNetV2" in outcome.err
    assert "can't be copied to several devices or to float16: drop --strategy and --mixed-precision" in outcome.err
    assert not empty_cache.exists()
    assert [path.name for path in (tmp_path / "a").iterdir()] == [MARK]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--backbone", "lenet", "--recipe", "head"), "was never trained"),
        (("--backbone", "lenet", "--recipe", "finetune"), "Use --recipe scratch"),
        (("--recipe", "best", "--mixed-precision"), "is for a GPU"),
        (("--recipe", "finetune", "--unfreeze-from", "block_99"), "Did you mean 'block_9"),
        (("--recipe", "finetune", "--time-budget", "soon"), "use a time above 0"),
        (("--recipe", "finetune", "--time-budget", "1s"), "leaves no time"),
        (("--recipe", "beste"), "Did you mean 'best'"),
        (("--head", "mlp:x"), "use linear, or mlp:UNITS"),
        (("--schedule", "linear"), "--schedule linear"),
        (("--resume",), "drop --dataset, --backbone"),
    ],
)
def test_what_can_not_be_built_is_exit_code_2_and_leaves_nothing(
    tledge: Tledge, photo_folder: Callable[..., Path], tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    base = () if "--backbone" in options else ("--backbone", "bundled")
    folder = photo_folder({"cat": 30, "dog": 30})
    outcome = tledge("build", "--dataset", folder, *base, *options, "--artifacts", tmp_path / "a")
    assert outcome.code == 2, outcome.err
    assert said in outcome.err
    assert not (tmp_path / "a").exists() or [path.name for path in (tmp_path / "a").iterdir()] == [MARK]


def test_a_build_that_was_killed_is_finished_by_resume(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tledge", "build", "--dataset", "digits", "--backbone", "lenet", "--run", "late"]
    options = ["--max-epochs", "12", "--tensorboard", "logs", "--artifacts", str(artifacts := tmp_path / "artifacts")]
    process = subprocess.Popen([*command, *options], cwd=tmp_path, stderr=subprocess.DEVNULL)
    state = artifacts / ".unfinished-late" / "state.npz"
    deadline = time.monotonic() + 60
    while not state.is_file() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (artifacts / "late").exists()
    with pytest.raises(InputError, match="was begun and not finished"):
        build("digits", backbone="lenet", run="late", artifacts=artifacts)
    with np.load(state) as stored:
        reached = bytes(stored["progress"]).count(b"val_loss")
    run = go_on(artifacts=artifacts)
    assert run.manifest.num_epochs >= reached >= 1
    assert run.manifest.recipe["max_epochs"] == 12
    assert open_run(artifacts, "late").manifest == run.manifest
    assert [path.name for path in artifacts.glob(".*")] == [MARK]
    first, then = epochs_told(tmp_path / "logs" / "late")  # where the build was begun, wherever it is resumed
    assert first[:reached] == list(range(1, reached + 1))
    assert then == list(range(reached + 1, run.manifest.num_epochs + 1))
    with pytest.raises(InputError, match="no unfinished build"):
        go_on(artifacts=artifacts)


def test_where_classes_are_weighed_a_rare_one_counts_as_much_for_a_network(
    photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    data = prepare_dataset(open_source(str(photo_folder({"common": 60, "rare": 12}))), 28, 0, Silent())
    counts = np.bincount(data.labels[data.splits.rows["train"]])
    for name in ("best", "finetune"):
        recipe = resolve(name, {"class_weights": True})
        task = Task(open_backbone("lenet", seed=0), data, recipe, 0, tmp_path, None, Silent())
        assert by_network._weights(task) * counts == pytest.approx([counts.sum() / 2, counts.sum() / 2])
