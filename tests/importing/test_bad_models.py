"""What is no image classifier is refused by the command line: by its name, with the reason and a way out, and no run is left."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.conftest import Outcome

from .matrix_models import Torch

HERE = Path(__file__).parent
SIZE = 8
PREPARED = "scale=0..1 resize=squeeze order=rgb"
Refused = Callable[..., str]


@pytest.fixture
def refused(tledge: Callable[..., Outcome], tmp_path: Path) -> Refused:
    """Import a model that can't be taken, and return what the user is told."""

    def run(model: Path, *options: str | Path, dataset: str | Path = "digits") -> str:
        artifacts = tmp_path / "runs"
        outcome = tledge("import", model, "--dataset", dataset, "--artifacts", artifacts, *options)
        assert outcome.code == 2, outcome
        assert outcome.out == ""
        left = sorted(path.name for path in artifacts.iterdir()) if artifacts.exists() else []
        assert [name for name in left if not name.startswith(".")] == []
        said = " ".join(outcome.err.split())
        assert "Traceback" not in said
        return said

    return run


def network(
    net: Torch | None = None,
    *,
    output: str | None = None,
    classes: int = 10,
    shape: tuple[Any, ...] = ("n", 3, SIZE, SIZE),
    opset: int = 17,
    weight: float | None = None,
) -> Any:
    """A ModelProto in PyTorch's style, which begins with what ``net`` holds, up to ``output``."""
    net = net or Torch({})
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(8, 3, 3, 3), scale=0.2)
    x = net.add("Conv", output or "input", net.tensor("kernel", kernel), kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    x = net.add("Flatten", net.add("GlobalAveragePool", net.add("Relu", x)), axis=1)
    last = rng.normal(size=(classes, 8)) if weight is None else np.full((classes, 8), weight)
    x = net.add("Gemm", x, net.tensor("last", last), net.tensor("bias", -np.arange(classes)), transB=1)
    return made(net, x, shape, classes, opset)


def made(net: Torch, output: str, shape: tuple[Any, ...], classes: int = 10, opset: int = 17) -> Any:
    """A ModelProto of the operators of ``net``."""
    graph = helper.make_graph(
        net.nodes,
        "main_graph",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ("n", classes))],
        [numpy_helper.from_array(value, name) for name, value in net.tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def saved(model: Any, path: Path) -> Path:
    """Write a ModelProto."""
    path.write_bytes(model.SerializeToString())
    return path


def keras_zip(path: Path, layer: dict[str, Any], config_bytes: bytes | None = None) -> Path:
    """Write a ``.keras`` file whose description has one layer."""
    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        file["kernel"] = np.zeros(3, np.float32)
    config = config_bytes or json.dumps({"class_name": "Sequential", "config": {"layers": [layer]}}).encode()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.10.0"}))
        archive.writestr("config.json", config)
        archive.writestr("model.weights.h5", weights.getvalue())
    return path


def keras_hdf5(path: Path, layer: dict[str, Any]) -> Path:
    """Write a ``.h5`` file of Keras whose description has one layer."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = "2.15.0"
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": {"layers": [layer]}})
        file["model_weights/dense/kernel"] = np.zeros((300, 300), np.float32)
    return path


def test_a_model_of_two_inputs(refused: Refused, tmp_path: Path) -> None:
    model = network()
    model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["n", 1]))
    said = refused(saved(model, tmp_path / "two.onnx"))
    for part in ("two.onnx", "2 inputs ('input', 'mask')", "Export it with that one"):
        assert part in said


def test_a_detector(refused: Refused, tmp_path: Path) -> None:
    model = network()
    model.graph.output.add().CopyFrom(onnx.ValueInfoProto(name=model.graph.node[0].output[0]))
    said = refused(saved(model, tmp_path / "boxes.onnx"))
    for part in ("boxes.onnx", "2 outputs", "as detectors have", "onnx.utils.extract_model"):
        assert part in said


def test_a_text_model(refused: Refused, tmp_path: Path) -> None:
    net = Torch({})
    model = made(net, net.add("MatMul", "input", net.tensor("w", np.ones((20, 10)))), ("n", 20))
    said = refused(saved(model, tmp_path / "words.onnx"))
    for part in ("words.onnx", "[any, 20]", "A text or tabular model can't be taken"):
        assert part in said


def test_1001_classes_against_a_folder_of_five(
    refused: Refused, photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder = photo_folder(dict.fromkeys("abcde", 4))
    said = refused(saved(network(classes=1001), tmp_path / "imagenet.onnx"), dataset=folder)
    for part in ("imagenet.onnx", "tells 1,001 classes apart", "has 5 (a, b, c, d, e)", "Give the data set"):
        assert part in said


def test_labels_that_do_not_match(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("".join(f"{name}\n" for name in (*range(9), "nine")))
    said = refused(saved(network(), tmp_path / "model.onnx"), "--labels", tmp_path / "labels.txt")
    for part in ("labels.txt", "nine is no class of the data set", "9 is missing", "in the order of the outputs"):
        assert part in said


def test_an_unsupported_operator_is_named_before_the_trial(refused: Refused, tmp_path: Path) -> None:
    net = Torch({})
    said = refused(saved(network(net, output=net.add("Erf", "input")), tmp_path / "gelu.onnx"))
    for part in ("gelu.onnx", "can't be taken apart into layers", "Erf '/Erf_0'", "Replace that part"):
        assert part in said
    assert "trying preparations" not in said


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize(
    ("layer", "parts"),
    [
        (
            {"class_name": "Lambda", "module": "keras.layers", "config": {"name": "secret", "function": "4wEAAA=="}},
            ("secret (Lambda)", "holds Python code"),
        ),
        (
            {"class_name": "Doubled", "module": "their.layers", "config": {"name": "doubled"}},
            ("doubled (Doubled)", "is no class of Keras"),
        ),
    ],
    ids=["lambda", "custom"],
)
def test_a_layer_of_the_authors_own_code(
    refused: Refused, tmp_path: Path, suffix: str, layer: dict[str, Any], parts: tuple[str, ...]
) -> None:
    write = keras_zip if suffix == ".keras" else keras_hdf5
    said = refused(write(tmp_path / f"model{suffix}", layer))
    for part in (f"model{suffix}", *parts, "export it to ONNX"):
        assert part in said


def _checkpoint(path: Path) -> None:
    path.write_bytes(pickle.dumps({"weight": 1}))


def _torchscript(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps(1))
        archive.writestr("model/code/__torch__.py", "import os")


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("weights.pth", _checkpoint),
        ("scripted.pt", _torchscript),
        ("renamed.onnx", _checkpoint),
        ("renamed.keras", _torchscript),
    ],
)
def test_a_pickle(refused: Refused, tmp_path: Path, name: str, write: Callable[[Path], None]) -> None:
    write(tmp_path / name)
    said = refused(tmp_path / name)
    for part in (name, "is a pickle", "run its author's code", "torch.onnx.export(model.eval()"):
        assert part in said


@pytest.mark.parametrize("place", ["../weights.bin", "{tmp_path}/weights.bin", "link.bin"])
def test_weights_outside_the_models_folder(refused: Refused, tmp_path: Path, place: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    model = network()
    tensor = model.graph.initializer[0]
    (tmp_path / "weights.bin").write_bytes(tensor.raw_data)
    (folder / "link.bin").symlink_to(tmp_path / "weights.bin")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=place.format(tmp_path=tmp_path))
    said = refused(saved(model, folder / "model.onnx"))
    for part in ("model.onnx", "its weights are kept in"):
        assert part in said
    assert "Save it with onnx.save" in said or "which is a link. Copy the file itself" in said


@pytest.mark.parametrize("opset", [7, 30])
def test_an_opset_that_is_too_old_or_too_new(refused: Refused, tmp_path: Path, opset: int) -> None:
    said = refused(saved(network(opset=opset), tmp_path / "model.onnx"))
    for part in ("model.onnx", f"opset {opset}", "Export it again with opset_version=17"):
        assert part in said


@pytest.mark.parametrize(
    "share", [pytest.param(0.1, marks=pytest.mark.long), 0.5, pytest.param(0.99, marks=pytest.mark.long)]
)
@pytest.mark.parametrize("suffix", [".onnx", ".keras", ".h5"])
def test_a_file_that_is_cut_short(refused: Refused, tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"model{suffix}"
    layer = {"class_name": "Flatten", "module": "keras.layers", "config": {"name": "flat"}}
    if suffix == ".onnx":
        saved(network(), path)
    else:
        (keras_zip if suffix == ".keras" else keras_hdf5)(path, layer)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    said = refused(path)
    assert f"model{suffix}" in said
    assert "damaged" in said or "can't be read" in said
    assert "again" in said


@pytest.mark.parametrize("content", ["", "These are no numbers of a model.\n"])
@pytest.mark.parametrize("suffix", [".onnx", ".keras", ".h5"])
def test_a_file_that_is_empty_or_text(refused: Refused, tmp_path: Path, suffix: str, content: str) -> None:
    (tmp_path / f"model{suffix}").write_text(content)
    said = refused(tmp_path / f"model{suffix}")
    assert f"model{suffix}" in said
    assert any(word in said for word in ("damaged", "can't be read", "empty"))
    assert "again" in said


def test_a_file_that_is_not_there(refused: Refused, tmp_path: Path) -> None:
    assert "missing.onnx: no such file or folder" in refused(tmp_path / "missing.onnx")


def test_a_folder_without_a_model(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("nothing")
    said = refused(tmp_path / "folder")
    for part in ("folder: neither", "a SavedModel (a folder)", "Export the model to one of these"):
        assert part in said


@pytest.mark.parametrize("suffix", [".onnx", ".keras", ".h5"])
def test_a_folder_by_the_name_of_a_file(refused: Refused, tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"model{suffix}").mkdir()
    said = refused(tmp_path / f"model{suffix}")
    assert f"model{suffix}" in said
    assert "Name the ONNX file itself" in said or "Export the model to one of these" in said


def test_a_file_of_a_kind_that_nothing_here_reads(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "model.xyz").write_bytes(b"\0\1\2")
    assert "an ONNX file (.onnx)" in refused(tmp_path / "model.xyz")


def test_photos_that_are_not_square(refused: Refused, tmp_path: Path) -> None:
    said = refused(saved(network(shape=("n", 3, SIZE, 2 * SIZE)), tmp_path / "wide.onnx"))
    for part in ("wide.onnx", "[any, 3, 8, 16]", "as high as it is wide"):
        assert part in said


def test_a_keras_file_that_unpacks_to_a_gigabyte(refused: Refused, tmp_path: Path) -> None:
    path = keras_zip(tmp_path / "bomb.keras", {}, config_bytes=b" " * 12_345)
    whole = path.read_bytes()
    assert whole.count(struct.pack("<I", 12_345)) == 4  # packed and unpacked size, before the member and in the list
    at = whole.rindex(struct.pack("<I", 12_345))
    path.write_bytes(whole[:at] + struct.pack("<I", 10**9) + whole[at + 4 :])
    said = refused(path)
    for part in ("bomb.keras is refused", "config.json unpacks to 1000 MB", "beyond the 67 MB", "model.save"):
        assert part in said


def test_a_size_that_contradicts_the_file(refused: Refused, tmp_path: Path) -> None:
    said = refused(saved(network(), tmp_path / "model.onnx"), "--prepare", "size=224")
    for part in ("--prepare size=224", "model.onnx takes 8 x 8 pixels", "Leave size out"):
        assert part in said


def test_a_model_that_needs_more_memory_than_there_is(refused: Refused, tmp_path: Path) -> None:
    net = Torch({})
    shape = numpy_helper.from_array(np.array([1, 1, 10**6, 10**6], np.int64), "shape")
    x = net.add("Expand", net.add("GlobalAveragePool", "input"), "shape")
    model = network(net, output=x)
    model.graph.initializer.append(shape)
    said = refused(saved(model, tmp_path / "huge.onnx"))
    for part in ("huge.onnx", "take more memory than there is", "Export a smaller one"):
        assert part in said


def test_weights_that_are_nan(refused: Refused, tmp_path: Path) -> None:
    said = refused(saved(network(weight=np.nan), tmp_path / "diverged.onnx"))
    for part in ("diverged.onnx", "'last'", "NaN", "training diverged"):
        assert part in said


def test_answers_to_photos_that_are_not_finite(refused: Refused, tmp_path: Path) -> None:
    model = network()
    kernel = model.graph.initializer[0]
    # The sums of noise in [0, 1] stay below the largest float32, about 3.4e38, and those of pixels up to 255 do not.
    kernel.CopyFrom(numpy_helper.from_array(np.full((8, 3, 3, 3), 5e34, np.float32), kernel.name))
    said = refused(saved(model, tmp_path / "diverged.onnx"), "--prepare", "scale=0..255 resize=squeeze order=rgb")
    for part in ("diverged.onnx", "answers are not finite on", "of 64 photos", "export it again"):
        assert part in said


@pytest.mark.parametrize("prepare", [None, PREPARED])
def test_a_model_that_answers_chance(refused: Refused, tmp_path: Path, prepare: str | None) -> None:
    options = ("--prepare", prepare) if prepare else ()
    said = refused(saved(network(weight=0.0), tmp_path / "chance.onnx"), *options)
    for part in ("chance.onnx", "no better than chance (10.0%)", "scale=0..1 order=rgb: ", "--labels", "--prepare"):
        assert part in said


# Real files of Keras and TensorFlow, whose reading starts TensorFlow.


@pytest.fixture(scope="session")
def strange(once: Callable[..., Path]) -> Path:
    """Files of Keras 3 (.keras) and tf_keras (.h5) that are no image classifiers. Read only."""

    def make(folder: Path) -> None:
        folder.mkdir()
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "-1"}
        command = [sys.executable, str(HERE / "make_keras_models.py"), str(folder), "strange"]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr[-3000:]

    return once("strange-keras-models", make)


@pytest.mark.long
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("two_inputs", ("2 inputs ('photo'", "models of one photo", "Save a model of that input alone")),
        ("detector", ("2 outputs", "as detectors do", "Save a model of that output alone")),
        ("text", ("it is a text model", "image classifiers")),
        ("with_lambda", ("secret (Lambda) holds Python code", "export it to ONNX")),
        ("with_custom", ("doubled (Doubled) is no class of Keras", "export it to ONNX")),
        ("not_square", ("is not square", "Save the model with an input of (N, S, S, 3)")),
    ],
)
def test_a_file_of_keras_that_is_no_classifier(
    refused: Refused, strange: Path, name: str, parts: tuple[str, ...], suffix: str
) -> None:
    said = refused(strange / f"{name}{suffix}")
    for part in (f"{name}{suffix}", *parts):
        assert part in said


def save_module(folder: Path, answer: Callable[[Any], Any]) -> Path:
    """Write a plain SavedModel of one function of photos."""
    import tensorflow as tf

    module = tf.Module()
    module.weight = tf.Variable(np.random.default_rng(0).normal(size=(3, 10)).astype(np.float32))
    spec = tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32, name="images")
    serve = tf.function(lambda images: {"logits": answer(images) @ module.weight}, input_signature=[spec])
    tf.saved_model.save(module, str(folder), {"serving_default": serve})
    return folder


@pytest.mark.long
def test_a_saved_model_that_writes_files(refused: Refused, tmp_path: Path) -> None:
    import tensorflow as tf

    def spying(images: Any) -> Any:
        with tf.control_dependencies([tf.io.write_file(str(tmp_path / "loot"), "x")]):
            return tf.reduce_mean(images, [1, 2])

    said = refused(save_module(tmp_path / "spy", spying))
    for part in ("spy", "is refused", "WriteFile", "Save the network alone"):
        assert part in said
    assert not (tmp_path / "loot").exists()


@pytest.mark.long
@pytest.mark.parametrize(
    "file", ["saved_model.pb", "variables/variables.data-00000-of-00001", "variables/variables.index"]
)
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_saved_model_that_is_cut_short(refused: Refused, tmp_path: Path, file: str, share: float) -> None:
    import tensorflow as tf

    folder = save_module(tmp_path / "model", lambda images: tf.reduce_mean(images, [1, 2]))
    whole = (folder / file).read_bytes()
    (folder / file).write_bytes(whole[: int(share * len(whole))])
    said = refused(folder)
    assert "model" in said
    assert "again" in said


@pytest.mark.long
def test_a_saved_model_without_its_variables(refused: Refused, tmp_path: Path) -> None:
    import tensorflow as tf

    folder = save_module(tmp_path / "model", lambda images: tf.reduce_mean(images, [1, 2]))
    shutil.rmtree(folder / "variables")
    assert "Save it again" in refused(folder)
