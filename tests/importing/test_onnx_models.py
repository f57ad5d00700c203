"""Whole ONNX files: networks in PyTorch's style and those of tf2onnx, a real one, and files that can't be taken."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tledge.importing.foreign import ForeignModel, LayersUnknown, Refused
from tledge.importing.formats.onnx import FORMAT

from .small_classifiers import REAL_MODELS

SIZE = 32
Noise = np.ndarray[Any, Any]


class Torch:
    """The ``Torch`` writes a graph with the channels first, as torch.onnx.export does."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.tensors: dict[str, Noise] = {}

    def tensor(self, value: Any) -> str:
        name = f"onnx::{len(self.tensors)}"
        self.tensors[name] = np.asarray(value)
        return name

    def add(self, operator: str, *reads: str, **attributes: Any) -> str:
        name = f"/features/{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, reads, [f"{name}_output_0"], name=name, **attributes))
        return f"{name}_output_0"

    def weights(self, *shape: int) -> str:
        return self.tensor(self.rng.normal(size=shape, scale=(2 / np.prod(shape[1:])) ** 0.5).astype(np.float32))

    def conv(self, reads: str, channels: int, filters: int, size: int = 3, stride: int = 1, group: int = 1) -> str:
        kernel = self.weights(filters, channels // group, size, size)
        return self.add(
            "Conv", reads, kernel, kernel_shape=[size, size], strides=[stride] * 2, pads=[size // 2] * 4, group=group
        )

    def norm(self, reads: str, channels: int) -> str:
        values = [self.rng.normal(size=channels) * 0.1 + one for one in (1, 0, 0)] + [self.rng.random(channels) + 0.5]
        return self.add(
            "BatchNormalization", reads, *(self.tensor(one.astype(np.float32)) for one in values), epsilon=1e-5
        )

    def gemm(self, reads: str, features: int, classes: int) -> str:
        bias = self.tensor(self.rng.normal(size=classes).astype(np.float32))
        return self.add("Gemm", reads, self.weights(classes, features), bias, transB=1)

    def save(self, path: Path, output: str, **changes: Any) -> Path:
        path.write_bytes(self.model(output, **changes).SerializeToString())
        return path

    def model(
        self, output: str, shape: Any = ("batch", 3, SIZE, SIZE), kind: int = TensorProto.FLOAT, opset: int = 17
    ) -> Any:
        graph = helper.make_graph(
            self.nodes,
            "main_graph",
            [helper.make_tensor_value_info("input", kind, shape)],
            [onnx.ValueInfoProto(name=output)],
            [numpy_helper.from_array(value, name) for name, value in self.tensors.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def residual(net: Torch) -> str:
    x = net.add("Relu", net.norm(net.conv("input", 3, 16, 7, 2), 16))
    x = net.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    y = net.norm(net.conv(net.add("Relu", net.norm(net.conv(x, 16, 32, 3, 2), 32)), 32, 32), 32)
    x = net.add("Relu", net.add("Add", y, net.norm(net.conv(x, 16, 32, 1, 2), 32)))
    return net.gemm(net.add("Flatten", net.add("GlobalAveragePool", x), axis=1), 32, 5)


def depthwise(net: Torch) -> str:
    low, high = net.tensor(np.float32(0)), net.tensor(np.float32(6))
    x = net.add("Clip", net.norm(net.conv("input", 3, 8, 3, 2), 8), low, high)
    y = net.add("Clip", net.norm(net.conv(net.conv(x, 8, 24, 1), 24, 24, 3, 1, 24), 24), low, high)
    x = net.add("Add", x, net.norm(net.conv(y, 24, 8, 1), 8))
    return net.gemm(net.add("ReduceMean", x, axes=[2, 3], keepdims=0), 8, 5)


def dense_blocks(net: Torch) -> str:
    x = net.conv("input", 3, 8, 3, 2)
    y = net.conv(net.add("Relu", net.norm(x, 8)), 8, 8)
    x = net.add("Concat", x, y, axis=1)
    x = net.add(
        "AveragePool", net.conv(net.add("Relu", net.norm(x, 16)), 16, 8, 1), kernel_shape=[2, 2], strides=[2, 2]
    )
    return net.gemm(net.add("Flatten", x), 8 * 8 * 8, 5)


def excited(net: Torch) -> str:
    x = net.add("HardSwish", net.norm(net.conv("input", 3, 16, 3, 2), 16))
    gate = net.add("Relu", net.conv(net.add("GlobalAveragePool", x), 16, 4, 1))
    gate = net.add("HardSigmoid", net.conv(gate, 4, 16, 1), alpha=1 / 6, beta=0.5)
    x = net.add("Mul", gate, x)
    x = net.add("Mul", x, net.add("Sigmoid", x))
    return net.gemm(net.add("HardSwish", net.gemm(net.add("Flatten", net.add("GlobalAveragePool", x)), 16, 24)), 24, 5)


def shuffled(net: Torch) -> str:
    """ShuffleNet's shuffle, and a head whose shape the graph computes."""
    x = net.conv("input", 3, 12, 3, 2, 3)
    x = net.add("Reshape", x, net.tensor(np.array([-1, 3, 4, 16, 16])))
    x = net.add("Reshape", net.add("Transpose", x, perm=[0, 2, 1, 3, 4]), net.tensor(np.array([-1, 12, 16, 16])))
    x = net.add("Relu", net.conv(x, 12, 8, 3, 2))
    photos = net.add("Gather", net.add("Shape", x), net.tensor(np.array(0)), axis=0)
    photos = net.add("Unsqueeze", photos, net.tensor(np.array([0])))
    shape = net.add("Concat", photos, net.tensor(np.array([-1])), axis=0)
    return net.gemm(net.add("Reshape", x, shape), 8 * 8 * 8, 5)


NETWORKS: dict[str, Callable[[Torch], str]] = {
    one.__name__: one for one in (residual, depthwise, dense_blocks, excited, shuffled)
}


def images(size: int = SIZE, channels: int = 3, count: int = 4) -> Noise:
    return np.random.default_rng(3).normal(size=(count, size, size, channels)).astype(np.float32)


def runtime_answers(path: Path, x: Noise) -> Noise:
    """Return what ONNX Runtime answers by itself, without tledge's code."""
    import onnxruntime

    opened = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.asarray(opened.run(None, {opened.get_inputs()[0].name: x})[0])


def error(model: ForeignModel, x: Noise) -> float:
    """Return the largest difference between the layers and the model, as a share of the range of the answers."""
    expected = model.answers(x)
    found = model.network(x.shape[1]).graph()(x).numpy()
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.ptp(expected))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_in_pytorchs_style_is_described_exactly(name: str, tmp_path: Path) -> None:
    net = Torch()
    path = net.save(tmp_path / "net.onnx", NETWORKS[name](net))
    model = FORMAT.open(path)
    taken = model.taken()
    assert (taken.input_size, taken.channels, taken.num_outputs, taken.ending) == (SIZE, 3, 5, "logits")
    x = images()
    np.testing.assert_allclose(model.answers(x), runtime_answers(path, x.transpose(0, 3, 1, 2)), rtol=1e-4, atol=1e-5)
    assert error(model, x) <= 1e-4


def keras_network(name: str) -> Any:
    import tf_keras
    from tf_keras import layers

    tf_keras.utils.set_random_seed(0)
    x = image = tf_keras.Input((SIZE, SIZE, 3))
    if name == "scaled and residual":
        x = layers.Rescaling(1 / 127.5, -1)(x)
        x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3, 2, "same", use_bias=False)(x)))
        x = layers.Add()([x, layers.DepthwiseConv2D(3, padding="same", activation="relu")(x)])
        x = layers.GlobalAveragePooling2D()(x)
    elif name == "flattened":
        x = layers.MaxPooling2D(2)(layers.Conv2D(8, 3, activation="relu")(x))
        x = layers.Flatten()(layers.AveragePooling2D(3, 2, "same")(x))
        x = layers.Dropout(0.5)(layers.Dense(16, "relu")(x))
    else:
        x = layers.Conv2D(8, 3, 2, "same", activation="swish")(x)
        gate = layers.Dense(8, "sigmoid")(layers.Dense(4, "relu")(layers.GlobalAveragePooling2D(keepdims=True)(x)))
        x = layers.Concatenate()([layers.Multiply()([x, gate]), layers.LeakyReLU(0.1)(x)])
        x = layers.GlobalMaxPooling2D()(layers.SeparableConv2D(12, 3, 2, "same")(x))
    return tf_keras.Model(image, layers.Dense(5, activation="softmax")(x))


def by_tf2onnx(network: Any, path: Path, **more: Any) -> Path:
    import tensorflow as tf
    import tf2onnx

    signature = [tf.TensorSpec((None, SIZE, SIZE, 3), tf.float32, name="image")]
    function = tf.function(lambda image: network(image, training=False), input_signature=signature)
    tf2onnx.convert.from_function(function, signature, opset=17, output_path=str(path), **more)
    return path


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("name", ["scaled and residual", "flattened", "excited"])
@pytest.mark.parametrize("is_nchw", [False, True])
def test_a_network_of_tf2onnx_is_described_exactly(name: str, is_nchw: bool, tmp_path: Path) -> None:
    network = keras_network(name)
    path = by_tf2onnx(network, tmp_path / "net.onnx", inputs_as_nchw=["image:0"] if is_nchw else None)
    dims = [dim.dim_value for dim in onnx.load(path).graph.input[0].type.tensor_type.shape.dim]
    assert dims[1:] == ([3, SIZE, SIZE] if is_nchw else [SIZE, SIZE, 3])
    model = FORMAT.open(path)
    taken = model.taken()
    assert (taken.input_size, taken.num_outputs, taken.ending) == (SIZE, 5, "softmax")
    x = images() * 50 + 128
    logits = model.answers(x)
    shown = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(shown / shown.sum(axis=1, keepdims=True), network(x).numpy(), atol=1e-4)
    assert error(model, x) <= 1e-4
    # A file with the channels last at its input, and with the channels first inside, needs no layer that moves them.
    assert "Permute" not in {layer.kind for layer in model.network(SIZE).layers}


def test_a_real_file_of_torchvision_is_described_exactly_in_little_memory(tmp_path: Path) -> None:
    from tledge.backbones.described import from_files

    path = REAL_MODELS / "flowers_torch_mobilenet_v2.onnx"
    if not path.is_file():
        pytest.skip(f"needs a real model: {path.name} in the folder models beside TFHUB_CACHE_DIR")
    x = images(224, count=8)
    np.save(tmp_path / "x.npy", x)
    # A program of its own, as the reader runs, so that the peak memory is the reader's.
    done = subprocess.run(
        [sys.executable, "-c", _READER, path, tmp_path], check=True, capture_output=True, text=True, timeout=300
    )
    peak = int(done.stdout.split()[-1])
    with np.load(tmp_path / "network.npz") as held:
        network = from_files(held["network"].tobytes(), held)
    expected, found = np.load(tmp_path / "answers.npy"), network.graph()(x).numpy()
    share = np.abs(found - expected).max() / np.ptp(expected)
    assert share <= 1e-4
    assert peak < 2e9


_READER = """
import sys
from pathlib import Path

import numpy as np

from tledge.backbones.described import to_files
from tledge.importing.formats.onnx import FORMAT
from tledge.workers.worker import peak_memory_bytes

path, folder = map(Path, sys.argv[1:])
model = FORMAT.open(path)
assert (model.taken().input_size, model.taken().num_outputs, model.taken().ending) == (224, 5, "logits")
np.save(folder / "answers.npy", model.answers(np.load(folder / "x.npy")))
network, arrays = to_files(model.network(224))
np.savez(folder / "network.npz", network=np.frombuffer(network, np.uint8), **arrays)
print(peak_memory_bytes())
"""


def small(net: Torch, channels: int = 3, reads: str = "input", classes: int = 5) -> str:
    x = net.add("Relu", net.conv(reads, channels, 8, 3, 2))
    return net.gemm(net.add("Flatten", net.add("GlobalAveragePool", x)), 8, classes)


def opened(net: Torch, output: str, folder: Path, **changes: Any) -> ForeignModel:
    return FORMAT.open(net.save(folder / "net.onnx", output, **changes))


@pytest.mark.parametrize(
    ("operator", "ending"), [("Softmax", "softmax"), ("LogSoftmax", "softmax"), ("Sigmoid", "sigmoid")]
)
@pytest.mark.parametrize("then", ["", "Identity", "Flatten"])
def test_a_last_softmax_or_sigmoid_is_left_out_of_the_answers(
    operator: str, ending: str, then: str, tmp_path: Path
) -> None:
    plain, net = Torch(), Torch()
    logits, scores = small(plain), net.add(operator, small(net))
    model = opened(net, net.add(then, scores) if then else scores, tmp_path)
    assert model.taken().ending == ending
    np.testing.assert_allclose(model.answers(images()), opened(plain, logits, tmp_path).answers(images()), atol=1e-6)
    assert error(model, images()) <= 1e-4


@pytest.mark.parametrize("ending", ["sigmoid", "logits"])
def test_one_output_unit_becomes_two_classes_and_the_user_is_told(ending: str, tmp_path: Path) -> None:
    net = Torch()
    unit = small(net, classes=1)
    model = opened(net, net.add("Sigmoid", unit) if ending == "sigmoid" else unit, tmp_path)
    taken, answers = model.taken(), model.answers(images())
    assert (taken.num_outputs, taken.ending) == (2, ending)
    assert "the logit of the second of two classes" in taken.notes[0]
    assert answers.shape == (4, 2)
    assert not answers[:, 0].any()
    assert answers[:, 1].all()
    assert error(model, images()) <= 1e-4


def test_scores_that_are_a_map_of_one_pixel_are_squeezed(tmp_path: Path) -> None:
    net = Torch()
    x = net.conv(net.add("GlobalAveragePool", net.conv("input", 3, 8)), 8, 5, 1)
    model = opened(net, net.add("Softmax", x, axis=1), tmp_path)
    assert (model.taken().num_outputs, model.taken().ending) == (5, "softmax")
    assert error(model, images()) <= 1e-4


def test_a_grey_network_is_described_from_colour_photos(tmp_path: Path) -> None:
    net = Torch()
    model = opened(net, small(net, 1), tmp_path, shape=(1, 1, SIZE, SIZE))
    assert model.taken().channels == 1
    x = images()
    expected = model.answers((x @ np.array([[0.299], [0.587], [0.114]], np.float32)).astype(np.float32))
    np.testing.assert_allclose(model.network(SIZE).graph()(x).numpy(), expected, atol=1e-4)


def test_a_file_of_open_size_leaves_it_to_the_user(tmp_path: Path) -> None:
    net = Torch()
    model = opened(net, small(net), tmp_path, shape=("batch", 3, "height", "width"))
    assert model.taken().input_size is None
    for size in (32, 48):
        assert error(model, images(size)) <= 1e-4


@pytest.mark.parametrize("photos", [1, 3])
def test_a_file_of_a_fixed_number_of_photos_answers_any_number(photos: int, tmp_path: Path) -> None:
    net, one = Torch(), Torch()
    model = opened(net, small(net), tmp_path, shape=(photos, 3, SIZE, SIZE))
    expected = opened(one, small(one), tmp_path).answers(images())
    np.testing.assert_allclose(model.answers(images()), expected, atol=1e-5)
    assert error(model, images()) <= 1e-4


def test_a_file_that_says_several_photos_and_takes_one_is_asked_one_by_one(tmp_path: Path) -> None:
    net = Torch()
    x = net.add("GlobalAveragePool", net.conv("input", 3, 8))
    model = opened(net, net.gemm(net.add("Reshape", x, net.tensor(np.array([1, 8]))), 8, 5), tmp_path)
    assert "but it takes one" in model.taken().notes[0]
    assert model.answers(images()).shape == (4, 5)
    assert error(model, images()) <= 1e-4


def test_bytes_as_input_are_taken_as_they_are(tmp_path: Path) -> None:
    net = Torch()
    x = net.add("Cast", "input", to=TensorProto.FLOAT)
    x = net.add(
        "Div", net.add("Sub", x, net.tensor(np.full((3, 1, 1), 127.5, np.float32))), net.tensor(np.float32(127.5))
    )
    model = opened(net, small(net, reads=x), tmp_path, kind=TensorProto.UINT8)
    assert "0 to 255" in model.taken().notes[0]
    pixels = np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 3)).astype(np.float32)
    assert error(model, pixels) <= 1e-4


def test_a_float16_file_answers_and_has_no_layers(tmp_path: Path) -> None:
    net = Torch()
    output = small(net)
    net.tensors = {name: value.astype(np.float16) for name, value in net.tensors.items()}
    model = opened(net, output, tmp_path, kind=TensorProto.FLOAT16)
    assert model.answers(images()).dtype == np.float32
    with pytest.raises(LayersUnknown, match="float16"):
        model.network(SIZE)


def test_mean_and_deviation_at_the_input_are_layers_that_scale(tmp_path: Path) -> None:
    net = Torch()
    mean, deviation = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    x = net.add("Sub", "input", net.tensor(np.array(mean, np.float32).reshape(1, 3, 1, 1)))
    x = net.add("Div", x, net.tensor(np.array(deviation, np.float32).reshape(1, 3, 1, 1)))
    model = opened(net, small(net, reads=x), tmp_path)
    assert [layer.kind for layer in model.network(SIZE).layers][:2] == ["Rescaling", "Rescaling"]
    assert error(model, images()) <= 1e-4


def test_mean_and_deviation_before_the_channels_are_put_first_swap_no_sides(tmp_path: Path) -> None:
    net = Torch()
    x = net.add("Sub", "input", net.tensor(np.array([0.485, 0.456, 0.406], np.float32)))
    x = net.add("Div", x, net.tensor(np.array([0.229, 0.224, 0.225], np.float32)))
    output = small(net, reads=net.add("Transpose", x, perm=[0, 3, 1, 2]))
    model = opened(net, output, tmp_path, shape=("batch", SIZE, SIZE, 3))
    kinds = [layer.kind for layer in model.network(SIZE).layers]
    assert kinds[:2] == ["Rescaling", "Rescaling"]
    assert "Permute" not in kinds
    assert error(model, images()) <= 1e-4


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("names", "{0: 'a', 1: 'b', 2: 'c', 3: 'd e', 4: 'f'}"),
        ("labels", '["a", "b", "c", "d e", "f"]'),
        ("classes", "a,b,c,d e,f"),
        ("class_names", "a\nb\nc\nd e\nf\n"),
    ],
)
def test_labels_in_the_metadata_are_read(key: str, text: str, tmp_path: Path) -> None:
    net = Torch()
    made = net.model(small(net))
    helper.set_model_props(made, {key: text, "author": "nobody"})
    (tmp_path / "net.onnx").write_bytes(made.SerializeToString())
    assert FORMAT.open(tmp_path / "net.onnx").taken().labels == ("a", "b", "c", "d e", "f")


@pytest.mark.parametrize("text", ["a,b", "a,a,b,c,d", "__import__('os')", "5", "[1, 2, 3, 4, 5]", "(" * 5000])
def test_metadata_that_are_no_labels_are_left_alone(text: str, tmp_path: Path) -> None:
    net = Torch()
    made = net.model(small(net))
    helper.set_model_props(made, {"names": text})
    (tmp_path / "net.onnx").write_bytes(made.SerializeToString())
    assert FORMAT.open(tmp_path / "net.onnx").taken().labels == ()


def external(folder: Path, location: str) -> Path:
    """Write a model whose weights of the first convolution are kept at a location."""
    net = Torch()
    made = net.model(small(net))
    tensor = made.graph.initializer[0]
    (folder / "kept").mkdir(exist_ok=True)
    (folder / "kept" / "weights.bin").write_bytes(b"\0" * 16 + tensor.raw_data)
    count = len(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "16"), ("length", str(count))):
        tensor.external_data.add(key=key, value=value)
    (folder / "models").mkdir(exist_ok=True)
    path = folder / "net.onnx"
    path.write_bytes(made.SerializeToString())
    return path


def test_weights_beside_the_file_are_read(tmp_path: Path) -> None:
    net = Torch()
    model = FORMAT.open(external(tmp_path, "kept/weights.bin"))
    expected = opened(net, small(net), tmp_path).answers(images())
    np.testing.assert_array_equal(model.answers(images()), expected)
    assert error(model, images()) <= 1e-4


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("../weights.bin", "reads weights only from the folder of the model"),
        ("kept/../../weights.bin", "reads weights only from the folder of the model"),
        ("/etc/passwd", "'/etc/passwd', and tledge reads weights only"),
        ("", "reads weights only from the folder"),
        ("missing.bin", "'missing.bin', which is not beside the model"),
        ("link.bin", "which is a link"),
        ("linked/weights.bin", "which is a link"),
        ("kept", "which is not beside the model"),
        ("kept/short.bin", "has 3 bytes"),
    ],
)
def test_weights_elsewhere_are_refused(location: str, message: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    path = external(folder, location)
    (tmp_path / "weights.bin").write_bytes(b"\0" * 10_000)
    (folder / "link.bin").symlink_to(tmp_path / "weights.bin")
    (folder / "linked").symlink_to(folder / "kept")
    (folder / "kept" / "short.bin").write_bytes(b"abc")
    with pytest.raises(Refused) as caught:
        FORMAT.open(path)
    assert message in str(caught.value)


def detector(net: Torch) -> Any:
    made = net.model(small(net))
    made.graph.output.add().CopyFrom(onnx.ValueInfoProto(name=made.graph.node[0].output[0]))
    return made


def two_inputs(net: Torch) -> Any:
    made = net.model(small(net))
    made.graph.input.append(helper.make_tensor_value_info("size", TensorProto.FLOAT, [1, 2]))
    return made


def no_output(net: Torch) -> Any:
    made = net.model(small(net))
    del made.graph.output[:]
    return made


def no_input(net: Torch) -> Any:
    made = net.model(net.add("Relu", net.weights(1, 5)))
    del made.graph.input[:]
    return made


def nan_weights(net: Torch) -> Any:
    output = small(net)
    next(iter(net.tensors.values()))[0, 0, 0, 0] = np.nan
    return net.model(output)


def infinite_answers(net: Torch) -> Any:
    return net.model(net.add("Div", small(net), net.tensor(np.float32(0))))


def classes_chosen(net: Torch) -> Any:
    made = net.model(net.add("ArgMax", small(net), axis=1))
    made.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    return made


REFUSED: dict[str, tuple[Callable[[Torch], Any], list[str]]] = {
    "a detector": (detector, ["2 outputs", "as detectors have", "extract_model"]),
    "two inputs": (two_inputs, ["2 inputs ('input', 'size')", "networks of one photo"]),
    "no input": (no_input, ["0 inputs (none)"]),
    "no output": (no_output, ["no output", "Export it"]),
    "a text model": (
        lambda net: net.model(
            net.add("MatMul", net.add("Cast", "input", to=TensorProto.FLOAT), net.weights(128, 5)),
            ("batch", 128),
            TensorProto.INT64,
        ),
        ["'input' is int64 of [any, 128]", "text"],
    ),
    "tokens of float32": (
        lambda net: net.model(net.add("MatMul", "input", net.weights(128, 5)), (1, 128)),
        ["float of [1, 128]", "[N, 3, S, S]"],
    ),
    "a photo that is not square": (lambda net: net.model(small(net), (1, 3, 32, 48)), ["[1, 3, 32, 48]", "square"]),
    "four channels": (lambda net: net.model(small(net, 4), (1, 4, 32, 32)), ["[1, 4, 32, 32]", "3 channels or 1"]),
    "a map as output": (
        lambda net: net.model(net.conv("input", 3, 8)),
        ["shape [1, 8, 32, 32]", "one row of class scores"],
    ),
    "chosen classes": (classes_chosen, ["is int64", "a score for each class"]),
    "opset 7": (lambda net: net.model(small(net), opset=7), ["opset 7", "opset_version=17"]),
    "opset of the future": (lambda net: net.model(small(net), opset=99), ["opset 99", "opset_version=17"]),
    "weights that are NaN": (nan_weights, ["'onnx::0'", "NaN"]),
    "answers that are no numbers": (infinite_answers, ["no finite numbers"]),
    "a softmax over one class": (
        lambda net: net.model(net.add("Softmax", small(net, classes=1))),
        ["always answers 1"],
    ),
    "a softmax over the photos": (
        lambda net: net.model(net.add("Softmax", small(net), axis=0), (2, 3, SIZE, SIZE)),
        ["last softmax is not over the classes"],
    ),
    "what ONNX Runtime can't load": (
        lambda net: net.model(net.add("NoSuchOperator", small(net))),
        ["ONNX Runtime can't load it", "NoSuchOperator"],
    ),
    "what ONNX Runtime can't run": (
        lambda net: net.model(net.gemm(net.add("Flatten", "input"), 100, 5), ("n", 3, "h", "w")),
        ["ONNX Runtime can't compute"],
    ),
}


@pytest.mark.parametrize("told", REFUSED)
def test_a_file_that_is_no_classifier_of_photos_is_refused_with_the_reason(told: str, tmp_path: Path) -> None:
    make, messages = REFUSED[told]
    path = tmp_path / "net.onnx"
    path.write_bytes(make(Torch()).SerializeToString())
    with pytest.raises(Refused) as caught:
        FORMAT.open(path)
    for message in messages:
        assert message in str(caught.value)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    net = Torch()
    whole = net.model(small(net)).SerializeToString()
    path = tmp_path / "net.onnx"
    for data in (b"", b"PK\3\4 a zip", b"\x80\x02}q\x00.", whole[: len(whole) // 2], whole[:-1]):
        path.write_bytes(data)
        with pytest.raises(Refused, match="can't be read|damaged|no output|ONNX Runtime can't|inputs"):
            FORMAT.open(path)
    path.write_bytes(whole.replace(b"/features/Conv_0", b"/features/\xff\xfe\xfd\xfc_0"))
    with pytest.raises(Refused, match="no text of UTF-8"):
        FORMAT.open(path)
    with pytest.raises(Refused, match="no file"):
        FORMAT.open(tmp_path)


def test_an_operator_without_layers_is_named_and_the_answers_are_there(tmp_path: Path) -> None:
    net = Torch()
    model = opened(net, net.add("Erf", small(net)), tmp_path)
    assert model.answers(images()).shape == (4, 5)
    with pytest.raises(LayersUnknown, match="Erf '/features/Erf_"):
        model.network(SIZE)


def test_settings_of_another_form_are_named(tmp_path: Path) -> None:
    net = Torch()
    x = net.add("MaxPool", net.conv("input", 3, 8), kernel_shape=[2, 2])
    model = opened(net, net.gemm(net.add("Flatten", net.add("GlobalAveragePool", x)), 8, 5), tmp_path)
    made = vars(model)["_model"]
    del made.graph.node[1].attribute[:]  # ONNX Runtime would not have loaded it
    with pytest.raises(LayersUnknown, match="MaxPool '/features/MaxPool_1' has settings that can't be read: KeyError"):
        model.network(SIZE)


def test_the_reader_writes_nothing_beside_the_file(tmp_path: Path) -> None:
    net = Torch()
    model = opened(net, net.add("Softmax", small(net)), tmp_path)
    model.answers(images())
    model.network(SIZE)
    assert [one.name for one in tmp_path.iterdir()] == ["net.onnx"]


def test_a_file_is_claimed_by_its_suffix() -> None:
    assert FORMAT.claims(Path("a/NET.ONNX"))
    assert not FORMAT.claims(Path("a/net.keras"))
