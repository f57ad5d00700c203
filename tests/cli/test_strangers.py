"""A backbone or a run from a stranger is refused with exit code 2 where it holds more than an image network needs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tledge.records import ExportRecord, Manifest
from tledge.run import MANIFEST, Run, open_run, tree_hashes
from tledge.stages import export

USER = 2
Command = Callable[..., Any]


@pytest.fixture(scope="module")
def hostile_runs(lenet: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Artifacts with a whole run, sealed as its maker would, whose original writes the file ``loot`` beside them."""
    import tensorflow as tf

    root = tmp_path_factory.mktemp("strangers") / "artifacts"
    shutil.copytree(lenet.folder, root / "lenet")
    run = open_run(root, "lenet")
    export(run, ["tflite-float32"])
    size, num_classes = run.manifest.backbone.input_size, len(run.manifest.labels)

    class Spy(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, size, size, 3], tf.uint8, name="pixels")])
        def serve(self, pixels: Any) -> Any:
            with tf.control_dependencies([tf.io.write_file(str(root.parent / "loot"), "x")]):
                logits = tf.zeros([tf.shape(pixels)[0], num_classes])
            return {"logits": logits, "probabilities": tf.nn.softmax(logits)}

    shutil.rmtree(run.folder / "model")
    spy = Spy()
    tf.saved_model.save(spy, str(run.folder / "model"), {"serving_default": spy.serve, "float_pixels": spy.serve})
    files = {name: sha for name, sha in tree_hashes(run.folder).items() if name != MANIFEST and "exports" not in name}
    Manifest.load(run.folder / MANIFEST, "").model_copy(update={"files_sha256": files}).save(run.folder / MANIFEST)
    record = run.export_folder("tflite-float32") / "export.json"
    changed = {"source_manifest_sha256": open_run(root, "lenet").manifest_sha256}
    ExportRecord.load(record, "").model_copy(update=changed).save(record)
    return root


@pytest.mark.parametrize(
    "command",
    [
        ("predict", "PHOTO"),
        ("evaluate", "--dataset", "digits", "--include-seen"),
        ("verify", "--protocol", "quick"),
        ("export", "--format", "tflite-float32"),
        ("export", "--format", "onnx-float32"),
        ("export", "--format", "tflite-int8"),
    ],
    ids=" ".join,
)
def test_a_run_whose_original_writes_files_is_refused_wherever_it_would_be_run(
    tledge: Command, hostile_runs: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    photo = tmp_path / "photo.png"
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(photo)
    named = [str(photo) if word == "PHOTO" else word for word in command]
    outcome = tledge(*named, "--run", "lenet", "--artifacts", hostile_runs)
    assert "the original in" in outcome.err, outcome
    assert "is refused: its graph holds WriteFile" in outcome.err
    assert outcome.code == USER
    assert not (hostile_runs.parent / "loot").exists()


def test_a_backbone_that_would_end_the_build_with_exit_code_0_is_refused_with_2(
    tledge: Command, save_module: Callable[..., Path], photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    import tensorflow as tf

    def quits(pixels: Any) -> Any:
        with tf.control_dependencies([tf.raw_ops.Abort(error_msg="", exit_without_error=True)]):
            return tf.reduce_mean(pixels, (1, 2))

    dataset = photo_folder({"cat": 30, "dog": 30})
    outcome = tledge(
        "build", "--dataset", dataset, "--backbone", save_module(quits), "--artifacts", tmp_path / "artifacts"
    )
    assert outcome.code == USER
    assert "is refused: its graph holds Abort" in outcome.err
    assert [path.name for path in (tmp_path / "artifacts").iterdir()] == [".tledge"]
