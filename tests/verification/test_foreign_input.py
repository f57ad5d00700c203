"""What can't be judged is refused with the reason and a way out; the parts of the search for a file's input are exact."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from tledge.errors import InputError
from tledge.normalization import USUAL
from tledge.run import Run
from tledge.verification.foreign.class_order import other_order, told
from tledge.verification.foreign.files import named
from tledge.verification.foreign.interfaces import Declared
from tledge.verification.foreign.labels import labels_inside, problem_of
from tledge.verification.foreign.preparations import Given, adapter_for, candidates, parsed
from tledge.workers.adapter import Adapter

Command = Callable[..., Any]
FLOAT, INT32 = TensorProto.FLOAT, TensorProto.INT32


def _onnx(inputs: list[tuple[int, list[int]]], outputs: list[list[int]], **metadata: str) -> bytes:
    """A graph with these inputs and outputs, which is never run: each output is the first input as it is."""
    graph = helper.make_graph(
        [helper.make_node("Identity", ["in0"], [f"out{number}"]) for number in range(len(outputs))],
        "graph",
        [helper.make_tensor_value_info(f"in{number}", kind, shape) for number, (kind, shape) in enumerate(inputs)],
        [helper.make_tensor_value_info(f"out{number}", FLOAT, shape) for number, shape in enumerate(outputs)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    helper.set_model_props(model, metadata)
    return bytes(model.SerializeToString())


_PHOTO = (FLOAT, [1, 28, 28, 3])
BAD = {
    "two inputs": ("m.onnx", lambda: _onnx([_PHOTO, _PHOTO], [[1, 10]]), "2 inputs (in0: float32 [1, 28, 28, 3]"),
    "a detector": ("m.onnx", lambda: _onnx([_PHOTO], [[1, 10], [1, 4]]), "2 outputs (out0: float32 [1, 10]; out1"),
    "a text model": ("m.onnx", lambda: _onnx([(INT32, [1, 128])], [[1, 10]]), "in0: int32 [1, 128], and no image"),
    "1,001 classes": ("m.onnx", lambda: _onnx([_PHOTO], [[1, 1001]]), "answers 1,001 classes"),
    "a fixed batch": ("m.onnx", lambda: _onnx([(FLOAT, [8, 28, 28, 3])], [[8, 10]]), "takes 8 photos at a time"),
    "grey photos": ("m.onnx", lambda: _onnx([(FLOAT, [1, 28, 28, 1])], [[1, 10]]), "three channels of an RGB photo"),
    "oblong photos": ("m.onnx", lambda: _onnx([(FLOAT, [1, 28, 32, 3])], [[1, 10]]), "photos of 28 x 32 pixels"),
    "a text file": ("m.tflite", lambda: b"no model at all", "TFL3 is missing"),
    "an ONNX of text": ("m.onnx", lambda: b"no model at all", "m.onnx: not"),
    "a Keras file": ("m.keras", lambda: b"PK", "Convert it with tf.lite.TFLiteConverter or tf2onnx"),
    "a pickle": ("m.pth", lambda: b"\x80\x02", "torch.onnx.export"),
    "another suffix": ("m.bin", lambda: b"", "Give a .tflite or .onnx file"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_file_that_is_no_classifier_for_the_run_is_refused(
    tledge: Command, lenet: Run, tmp_path: Path, what: str
) -> None:
    name, data, said = BAD[what]
    (tmp_path / name).write_bytes(data())
    outcome = tledge("verify", "--run", "lenet", "--artifacts", lenet.folder.parent, "--file", tmp_path / name)
    assert outcome.code == 2
    assert said in " ".join(outcome.err.split())
    assert outcome.out == ""


def test_a_truncated_file_is_refused(tledge: Command, lenet_copy: Run, tmp_path: Path) -> None:
    asked = ["--run", "lenet", "--artifacts", lenet_copy.folder.parent]
    assert tledge("export", *asked, "--format", "tflite-float32").code == 0
    (model,) = lenet_copy.export_folder("tflite-float32").glob("*.tflite")
    (tmp_path / "short.tflite").write_bytes(model.read_bytes()[: model.stat().st_size // 2])
    outcome = tledge("verify", *asked, "--file", tmp_path / "short.tflite")
    assert outcome.code == 2
    assert "short.tflite" in outcome.err


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        (["gone.onnx"], "no such file"),
        (["."], "is a folder"),
        (["a.onnx", "./a.onnx"], "is named twice"),
    ],
)
def test_paths_that_name_no_file_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, paths: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.onnx").write_bytes(b"")
    with pytest.raises(InputError, match=said):
        named([Path(path) for path in paths])


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    paths = [tmp_path / "a" / "int8" / "m.onnx", tmp_path / "b" / "int8" / "m.onnx", tmp_path / "other.onnx"]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    assert list(named(paths)) == ["a/int8/m.onnx", "b/int8/m.onnx", "other.onnx"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it is empty"),
        ("scale=0-1", "unknown scale of --file-input '0-1'"),
        ("scale=1..0", "begin with the smaller number"),
        ("order=grb", "use rgb or bgr"),
        ("size=224", "unknown word of --file-input 'size'"),
        ("mean=0.5,0.5,0.5", "give mean and std together"),
        ("mean=0.5,0.5 std=1,1,1", "or three with commas"),
        ("mean=0,0,0 std=1,0,1", "use numbers above 0"),
        ("scale=0..1 scale=0..1", "names scale twice"),
    ],
)
def test_a_wrong_file_input_is_refused_with_an_example(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        parsed(text)
    assert "--file-input" in str(refused.value)


def test_file_input_without_a_file_is_refused(tledge: Command, lenet: Run) -> None:
    outcome = tledge("verify", "--run", "lenet", "--artifacts", lenet.folder.parent, "--file-input", "order=bgr")
    assert outcome.code == 2
    assert "name one with --file" in outcome.err


def _declared(data_type: str = "float32", quantization: tuple[float, int] | None = None) -> Declared:
    return Declared("NHWC", 28, data_type, quantization, "float32", None, None)


def test_an_adapter_scales_swaps_and_moves_channels() -> None:
    pixels = np.arange(2 * 2 * 3, dtype=np.uint8).reshape(1, 2, 2, 3) * 20
    scale = parsed("mean=0.1,0.2,0.3 std=0.5,0.25,0.125 order=bgr").normalization
    assert scale is not None
    adapter = Adapter.of_json(asdict(adapter_for(_declared(), scale._replace(is_bgr=True))))
    expected = ((pixels / 255 - [0.1, 0.2, 0.3]) / [0.5, 0.25, 0.125])[..., ::-1]
    assert adapter.input(pixels).dtype == np.float32
    np.testing.assert_allclose(adapter.input(pixels), expected, atol=1e-6)
    nchw = Adapter(layout="NCHW", order="bgr", mean=adapter.mean, std=adapter.std)
    np.testing.assert_allclose(nchw.input(pixels), np.moveaxis(expected, 3, 1), atol=1e-6)


def test_an_adapter_quantizes_by_the_input_s_parameters_and_cuts_to_its_range() -> None:
    pixels = np.array([0, 128, 255], np.uint8).reshape(1, 1, 1, 3)
    int8 = adapter_for(_declared("int8", (1 / 127.5, 0)), USUAL["-1..1"])
    assert int8.input(pixels).ravel().tolist() == [-128 + 0, 0, 127]
    assert adapter_for(_declared("uint8", None), USUAL["-1..1"]).input(pixels).ravel().tolist() == [0, 128, 255]


def test_an_adapter_makes_probabilities_of_logits_scores_and_integers() -> None:
    logits = np.log([[0.2], [0.3], [0.5]]) + 7
    np.testing.assert_allclose(Adapter(answer="logits").output(logits), [0.2, 0.3, 0.5], atol=1e-6)
    np.testing.assert_allclose(Adapter(answer="scores").output(np.array([0.2, 0.2, 0.4])), [0.25, 0.25, 0.5])
    integers = Adapter(dequantization=(1 / 256, -128)).output(np.array([-128, -64, 64], np.int8))
    np.testing.assert_allclose(integers, [0, 0.25, 0.75])


def test_preparations_that_make_the_same_integers_are_tried_once() -> None:
    assert len(candidates(_declared(), Given())) == 10
    assert [one.normalization.order for one in candidates(_declared("uint8"), Given())] == ["rgb", "bgr"]
    assert (
        candidates(_declared(), parsed("order=bgr scale=caffe"))[0].words() == "BGR, x - mean of ImageNet, as in Caffe"
    )


def _answers(order: list[int], num_photos: int, num_classes: int, accuracy: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, num_classes, num_photos)
    said = np.where(rng.random(num_photos) < accuracy, labels, rng.integers(0, num_classes, num_photos))
    return np.eye(num_classes)[np.array(order)[said]], labels


def test_another_order_of_the_classes_is_found_and_told() -> None:
    answers, labels = _answers([1, 2, 0, 3], 200, 4, 0.7)
    order = other_order(answers, labels)
    assert order is not None
    assert order.tolist() == [1, 2, 0, 3]
    assert told(order, ["a", "b", "c", "d"]).startswith(
        "its classes stand in another order: output 0 answers c (the run's a), output 1 answers a (the run's b)"
    )


def test_a_poor_file_of_many_classes_is_not_said_to_have_another_order() -> None:
    """With 300 photos of 200 classes an assignment of outputs fits chance almost perfectly."""
    assert other_order(*_answers(list(range(200)), 300, 200, 0.0)) is None
    assert other_order(*_answers(list(range(4)), 300, 4, 0.6)) is None


def test_labels_inside_a_file_are_read_and_compared(tmp_path: Path) -> None:
    model = tmp_path / "m.onnx"
    model.write_bytes(_onnx([_PHOTO], [[1, 3]], names="{0: 'cat', 2: 'ant', 1: 'bee'}"))
    assert labels_inside(model, None, 3) == ["cat", "bee", "ant"]
    assert labels_inside(model, None, 4) is None
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("labels.txt", "ant\nbee\ncat\n")
    (tmp_path / "m.tflite").write_bytes(b"the model" + packed.getvalue())
    assert labels_inside(tmp_path / "m.tflite", None, 3) == ["ant", "bee", "cat"]
    assert problem_of(["cat", "bee", "ant"], ["ant", "bee", "cat"]) == (
        "its labels stand in another order: output 0 is 'cat' in the file and 'ant' in the run"
    )
    assert problem_of(["ant", "bee", "cat"], ["ant", "bee", "cat"]) is None
    assert problem_of(["x", "y", "z"], ["ant", "bee", "cat"]) is None
