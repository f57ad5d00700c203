"""ONNX files that take any number of photos at a time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tledge.audit import audit, broken_promises
from tledge.audit.contract import contract_problems
from tledge.datasets.run_photos import load_split
from tledge.errors import PromiseBroken
from tledge.exporters import formats
from tledge.exporters.onnx_batch import free_batch
from tledge.exporters.options import Options
from tledge.progress import Silent
from tledge.run import Run
from tledge.stages import export

FREED = ("onnx-float32", "onnx-int8")


def _session(path: Path) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])


def _path(run: Run, name: str) -> Path:
    return run.export_folder(name) / formats()[name].file


@pytest.mark.parametrize("name", FREED)
def test_photos_get_the_same_answers_together_as_one_by_one(lenet_copy: Run, name: str) -> None:
    options = Options(calibration_samples=32) if "int8" in name else Options()
    pixels = load_split(lenet_copy, "test", Silent()).pixels[:7]
    (fixed,) = export(lenet_copy, [name], options=options)
    expected = [_session(_path(lenet_copy, name)).run(None, {"pixels": photo[None]})[0] for photo in pixels]
    (made,) = export(lenet_copy, [name], options=options, batch="any")
    path = _path(lenet_copy, name)
    session = _session(path)
    alone = [session.run(None, {"pixels": photo[None]})[0] for photo in pixels]
    np.testing.assert_array_equal(np.concatenate(alone), np.concatenate(expected))
    np.testing.assert_allclose(session.run(None, {"pixels": pixels})[0], np.concatenate(expected), atol=1e-6)

    size, labels = lenet_copy.manifest.backbone.input_size, lenet_copy.manifest.labels
    assert [made.audit.inputs[0].shape, made.audit.outputs[0].shape] == [[-1, size, size, 3], [-1, len(labels)]]
    assert made.audit.num_macs == fixed.audit.num_macs
    assert (fixed.options["batch"], made.options["batch"]) == ("1", "any")
    inside = {entry.key: entry.value for entry in _read(path).metadata_props}
    assert json.loads(inside["tledge"])["batch"] == "any"
    assert contract_problems(path, labels, size) == []


def test_a_file_of_another_batch_than_its_record_says_breaks_its_promise(lenet_copy: Run) -> None:
    (made,) = export(lenet_copy, ["onnx-float32"], batch="any")
    path = _path(lenet_copy, made.format)
    for declared in ("1", "2", None):
        (problem,) = broken_promises(audit(path), made.promise, made.file, {**made.options, "batch": declared})
        assert f"a batch of {declared} is declared" in problem


def test_verify_and_predict_take_such_a_file(
    lenet_copy: Run, tledge: Callable[..., Any], tmp_path: Path, photo_bytes: Callable[..., bytes]
) -> None:
    root = lenet_copy.folder.parent
    asked = ["--run", lenet_copy.name, "--artifacts", root]
    ended = tledge("export", "--format", "onnx-float32", "--batch", "any", *asked)
    assert ended.code == 0, ended.err
    (tmp_path / "photo.png").write_bytes(photo_bytes(0))
    assert tledge("predict", tmp_path / "photo.png", "--artifact", "onnx-float32", *asked).code == 0
    ended = tledge("verify", "--accuracy-only", *asked)
    assert ended.code == 0, ended.err


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--batch", "any", "--format", "tflite-int8"], "tflite-int8: a TFLite file is made for one photo"),
        (["--batch", "any", "--format", "onnx-float32", "--format", "tflite-float32"], "tflite-float32: a TFLite file"),
        (
            ["--batch", "any", "--format", "all"],
            "tflite-float32, tflite-float16, tflite-dynamic, tflite-int8: a TFLite",
        ),
        (
            ["--batch", "any", "--format", "onnx-dynamic"],
            "onnx-dynamic: its activations are measured over the whole batch",
        ),
        (["--batch", "any", "--format", "tflite-int8", "--max-drop", "1"], "tflite-int8: a TFLite file"),
        (["--batch", "4", "--format", "onnx-float32"], "--batch 4: use 1 or any"),
    ],
)
def test_a_format_that_takes_one_photo_at_a_time_is_exit_code_2_and_named(
    lenet: Run, tledge: Callable[..., Any], asked: list[str], said: str
) -> None:
    ended = tledge("export", *asked, "--run", lenet.name, "--artifacts", lenet.folder.parent)
    assert ended.code == 2
    assert said in ended.err
    assert lenet.export_names() == []


def test_a_network_that_wants_one_photo_is_refused() -> None:
    from onnx import TensorProto, helper, numpy_helper

    size = 4 * 4 * 3
    nodes = [
        helper.make_node("Cast", ["pixels"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["values", "flat"], ["row"]),
        helper.make_node("Softmax", ["row"], ["soft"]),
        helper.make_node("Unsqueeze", ["soft", "axis"], ["probabilities"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, [1, 4, 4, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [1, size])],
        [numpy_helper.from_array(np.array([size]), "flat"), numpy_helper.from_array(np.array([0]), "axis")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(PromiseBroken, match="this network takes one photo at a time"):
        free_batch(model)


def _read(path: Path) -> Any:
    import onnx

    return onnx.load(path)
