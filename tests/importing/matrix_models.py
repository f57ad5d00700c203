"""Five small networks, each trained on the digits once, and written from the same weights as five kinds of file.

As a program, ``python matrix_models.py NAME FOLDER``, it writes the file of Keras 3, which can't share a process with tf_keras.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

SIZE = 32
CLASSES = 10
EPOCHS, MORE_EPOCHS = 8, 16  # more for the one that has only the mean of each channel at its end
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Body = Callable[[Any, Any], Any]


def _conv(library: Any, x: Any, name: str, filters: int, size: int = 3, stride: int = 1) -> Any:
    """A convolution with its normalization, padded as PyTorch pads."""
    padded = library.layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x) if size > 1 else x
    x = library.layers.Conv2D(filters, size, strides=stride, use_bias=False, name=name)(padded)
    return library.layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name=f"{name}_bn")(x)


def nested(library: Any, images: Any) -> Any:
    """Sequential models inside a model, with what only training needs, and a flattened end."""
    layers = library.layers
    augmentation = library.Sequential([layers.RandomTranslation(0.02, 0.02)], name="augmentation")
    block = library.Sequential(
        [
            layers.ZeroPadding2D(1),
            layers.Conv2D(8, 3, strides=2, activation="relu", name="first"),
            layers.MaxPooling2D(2),
            library.Sequential(
                [
                    layers.ZeroPadding2D(1),
                    layers.Conv2D(12, 3, use_bias=False, name="second"),
                    layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name="second_bn"),
                    layers.ReLU(),
                ],
                name="inner",
            ),
            layers.MaxPooling2D(2),
        ],
        name="block",
    )
    head = library.Sequential(
        [layers.Flatten(), layers.Dropout(0.2), layers.Dense(CLASSES, activation="softmax", name="head")], name="end"
    )
    return head(block(layers.Rescaling(1 / 255)(augmentation(images))))


def functional(library: Any, images: Any) -> Any:
    """Mean and deviation of each channel inside, and logits at the end."""
    layers = library.layers
    x = layers.Rescaling(1 / 255)(images)
    x = layers.Normalization(mean=MEAN, variance=[one**2 for one in DEVIATION], name="normalization")(x)
    x = layers.ReLU()(_conv(library, x, "first", 8, stride=2))
    x = layers.ReLU()(_conv(library, x, "second", 16, stride=2))
    return layers.Dense(CLASSES, name="head")(layers.Flatten()(layers.MaxPooling2D(2)(x)))


def residual(library: Any, images: Any) -> Any:
    """A block with an identity, and one with a convolution as its shortcut.

    The shortcut is pooled: TensorFlow 2.21 crashed each time that it trained a 1 x 1 convolution of stride 2 in its place.
    """
    layers = library.layers
    x = layers.ReLU()(_conv(library, layers.Rescaling(1 / 255)(images), "first", 8, stride=2))
    y = layers.ReLU()(_conv(library, x, "a", 8))
    x = layers.ReLU()(layers.Add()([_conv(library, y, "b", 8), x]))
    y = layers.ReLU()(_conv(library, x, "c", 16, stride=2))
    x = layers.ReLU()(
        layers.Add()([_conv(library, y, "d", 16), _conv(library, layers.MaxPooling2D(2)(x), "short", 16, 1)])
    )
    x = layers.Flatten()(layers.MaxPooling2D(2)(x))
    return layers.Dense(CLASSES, activation="softmax", name="head")(x)


def depthwise(library: Any, images: Any) -> Any:
    """An inverted residual as MobileNet has."""
    layers = library.layers
    x = layers.ReLU(6.0)(_conv(library, layers.Rescaling(1 / 127.5, offset=-1)(images), "first", 8, stride=2))
    y = layers.ReLU(6.0)(_conv(library, x, "expand", 24, 1))
    y = layers.DepthwiseConv2D(3, use_bias=False, name="depth")(layers.ZeroPadding2D(1)(y))
    y = layers.ReLU(6.0)(layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name="depth_bn")(y))
    x = layers.Add()([x, _conv(library, y, "project", 8, 1)])
    x = layers.ReLU(6.0)(_conv(library, x, "last", 32, stride=2))
    return layers.Dense(CLASSES, activation="softmax", name="head")(layers.GlobalAveragePooling2D()(x))


def concat(library: Any, images: Any) -> Any:
    """Branches that are laid beside each other."""
    layers = library.layers
    x = layers.ReLU()(_conv(library, layers.Rescaling(1 / 255)(images), "first", 8, stride=2))
    one = layers.ReLU()(_conv(library, x, "one", 8))
    other = layers.ReLU()(_conv(library, layers.AveragePooling2D(2)(x), "other", 8, 1))
    x = layers.Concatenate()([layers.MaxPooling2D(2)(one), other])
    x = layers.MaxPooling2D(2)(layers.ReLU()(_conv(library, x, "last", 12)))
    return layers.Dense(CLASSES, activation="softmax", name="head")(layers.Flatten()(x))


BODIES: dict[str, Body] = {one.__name__: one for one in (nested, functional, residual, depthwise, concat)}
# What the files in PyTorch's style take: they leave the preparation to their users.
TAKES = {
    "nested": "scale=0..1", "functional": "scale=imagenet", "residual": "scale=0..1", "depthwise": "scale=-1..1",
    "concat": "scale=0..1",
}  # fmt: skip


def network(library: Any, name: str) -> Any:
    """Build a network with Keras 3 or tf_keras."""
    images = library.Input((SIZE, SIZE, 3), name="images")
    return library.Model(images, BODIES[name](library, images), name=name)


def pixels() -> tuple[Any, Any]:
    """The digits as an import prepares them at this size, uint8 RGB (N, S, S, 3), and their labels."""
    from sklearn.datasets import load_digits

    from tledge.preprocessing import resize

    data = load_digits()
    small = np.rint(data.images * (255.0 / 16.0)).astype(np.uint8)
    colour = np.repeat(small[..., None], 3, axis=3)
    return np.stack([resize(one, SIZE) for one in colour]), data.target


def write_all(name: str, folder: Path) -> None:
    """Train a network, and write NAME.h5, NAME (a SavedModel), NAME.keras, NAME-tf2onnx.onnx and NAME-torch.onnx.

    Beside each is FILE.answers.npy: what its own framework answers to each digit.
    """
    import warnings

    import onnxruntime
    import tensorflow as tf
    import tf2onnx
    import tf_keras

    folder.mkdir(exist_ok=True)
    images, labels = pixels()
    given = images.astype(np.float32)
    np.save(folder / "images.npy", images)
    tf_keras.utils.set_random_seed(0)
    model = network(tf_keras, name)
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=name == "functional")
    model.compile(tf_keras.optimizers.Adam(1e-2), loss)
    epochs = MORE_EPOCHS if name == "depthwise" else EPOCHS
    model.fit(given[::2], labels[::2], batch_size=32, epochs=epochs, verbose=0)
    answers = model.predict(given, verbose=0, batch_size=64)
    assert np.mean(answers.argmax(1) == labels) > 0.75, "the network has not learnt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras 2 calls its own format old
        model.save(folder / f"{name}.h5")
    model.save(folder / name)
    for file in (f"{name}.h5", name):
        np.save(folder / f"{file}.answers.npy", answers)
    weights = dict(_weights(model))
    np.savez(folder / f"{name}.npz", **weights)
    spec = tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32, name="images")
    tf2onnx.convert.from_keras(model, [spec], opset=17, output_path=str(folder / f"{name}-tf2onnx.onnx"))
    write_in_torchs_style(name, weights, folder / f"{name}-torch.onnx")
    for file, taken in ((f"{name}-tf2onnx.onnx", given), (f"{name}-torch.onnx", _as_torch_takes_it(name, given))):
        session = onnxruntime.InferenceSession(folder / file)
        np.save(folder / f"{file}.answers.npy", session.run(None, {session.get_inputs()[0].name: taken})[0])
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1", "PYTHONPATH": root}
    command = [sys.executable, __file__, name, str(folder)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]


def _as_torch_takes_it(name: str, given: Any) -> Any:
    scaled = given / 127.5 - 1 if name == "depthwise" else given / 255
    if name == "functional":
        scaled = (scaled - np.array(MEAN, np.float32)) / np.array(DEVIATION, np.float32)
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2), np.float32)


def _leaves(model: Any) -> Iterator[Any]:
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _leaves(layer)
        else:
            yield layer


def _weights(model: Any) -> Iterator[tuple[str, Any]]:
    for layer in _leaves(model):
        if layer.name != "normalization" and not layer.name.startswith("random"):
            yield from ((f"{layer.name}/{number}", value) for number, value in enumerate(layer.get_weights()))


class Torch:
    """The ``Torch`` writes operators as torch.onnx.export does: the channels come first, and no preparation is inside."""

    def __init__(self, weights: dict[str, Any]) -> None:
        self._weights, self.nodes, self.tensors = weights, [], {}  # type: ignore[var-annotated]

    def add(self, operator: str, *reads: str, **attributes: Any) -> str:
        """Add an operator, and return the name of its output."""
        from onnx import helper

        name = f"/{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, reads, [f"{name}_output_0"], name=name, **attributes))
        return f"{name}_output_0"

    def tensor(self, name: str, value: Any) -> str:
        """Keep a tensor under a name."""
        self.tensors[name] = np.ascontiguousarray(value, np.float32)
        return name

    def conv(self, reads: str, name: str, stride: int = 1) -> str:
        """Add a convolution with the weights of a layer of Keras."""
        kernel = self._weights[f"{name}/0"]
        is_depthwise = name == "depth"
        made = kernel.transpose(2, 3, 0, 1) if is_depthwise else kernel.transpose(3, 2, 0, 1)
        size, bias = kernel.shape[0], self._weights.get(f"{name}/1")
        given = [self.tensor(f"{name}.weight", made)]
        given += [] if bias is None else [self.tensor(f"{name}.bias", bias)]
        return self.add(
            "Conv", reads, *given, kernel_shape=[size, size], strides=[stride] * 2, pads=[size // 2] * 4,
            group=kernel.shape[2] if is_depthwise else 1,
        )  # fmt: skip

    def block(self, reads: str, name: str, stride: int = 1) -> str:
        """Add a convolution and its normalization."""
        x = self.conv(reads, name, stride)
        kinds = ("weight", "bias", "running_mean", "running_var")
        given = [self.tensor(f"{name}_bn.{kind}", self._weights[f"{name}_bn/{at}"]) for at, kind in enumerate(kinds)]
        return self.add("BatchNormalization", x, *given, epsilon=1e-5)

    def relu(self, reads: str) -> str:
        """Add a ReLU."""
        return self.add("Relu", reads)

    def relu6(self, reads: str) -> str:
        """Add a ReLU6."""
        return self.add("Clip", reads, self.tensor("zero", np.float32(0)), self.tensor("six", np.float32(6)))

    def pool(self, operator: str, reads: str) -> str:
        """Add a pooling of 2 x 2."""
        return self.add(operator, reads, kernel_shape=[2, 2], strides=[2, 2])

    def end(self, reads: str) -> str:
        """Add the mean of each channel and the last layer."""
        return self.gemm(self.add("Flatten", self.add("GlobalAveragePool", reads), axis=1), self._weights["head/0"])

    def flattened_end(self, reads: str, side: int) -> str:
        """Add the last layer on a flattened map, whose numbers PyTorch has in the order of the channels first."""
        kernel = self._weights["head/0"]
        made = kernel.reshape(side, side, -1, CLASSES).transpose(2, 0, 1, 3).reshape(-1, CLASSES)
        return self.gemm(self.add("Flatten", reads, axis=1), made)

    def gemm(self, reads: str, kernel: Any) -> str:
        """Add the last layer."""
        weight, bias = self.tensor("fc.weight", kernel.T), self.tensor("fc.bias", self._weights["head/1"])
        return self.add("Gemm", reads, weight, bias, transB=1)


def write_in_torchs_style(name: str, weights: dict[str, Any], path: Path) -> None:
    """Write a network as PyTorch would: the same computation from its preparation to its logits."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    net = Torch(weights)
    output = _TORCH[name](net)
    graph = helper.make_graph(
        net.nodes,
        "main_graph",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ("batch", 3, SIZE, SIZE))],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ("batch", CLASSES))],
        [numpy_helper.from_array(value, tensor) for tensor, value in net.tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="pytorch")
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def _torch_nested(net: Torch) -> str:
    x = net.pool("MaxPool", net.relu(net.conv("input", "first", 2)))
    return net.flattened_end(net.pool("MaxPool", net.relu(net.block(x, "second"))), 4)


def _torch_functional(net: Torch) -> str:
    x = net.relu(net.block(net.relu(net.block("input", "first", 2)), "second", 2))
    return net.flattened_end(net.pool("MaxPool", x), 4)


def _torch_residual(net: Torch) -> str:
    x = net.relu(net.block("input", "first", 2))
    x = net.relu(net.add("Add", net.block(net.relu(net.block(x, "a")), "b"), x))
    y = net.block(net.relu(net.block(x, "c", 2)), "d")
    x = net.relu(net.add("Add", y, net.block(net.pool("MaxPool", x), "short")))
    return net.flattened_end(net.pool("MaxPool", x), 4)


def _torch_depthwise(net: Torch) -> str:
    x = net.relu6(net.block("input", "first", 2))
    y = net.relu6(net.block(net.relu6(net.block(x, "expand")), "depth"))
    return net.end(net.relu6(net.block(net.add("Add", x, net.block(y, "project")), "last", 2)))


def _torch_concat(net: Torch) -> str:
    x = net.relu(net.block("input", "first", 2))
    other = net.relu(net.block(net.pool("AveragePool", x), "other"))
    one = net.pool("MaxPool", net.relu(net.block(x, "one")))
    x = net.relu(net.block(net.add("Concat", one, other, axis=1), "last"))
    return net.flattened_end(net.pool("MaxPool", x), 4)


_TORCH: dict[str, Callable[[Torch], str]] = {
    "nested": _torch_nested, "functional": _torch_functional, "residual": _torch_residual,
    "depthwise": _torch_depthwise, "concat": _torch_concat,
}  # fmt: skip


def _write_keras3(name: str, folder: Path) -> None:
    import keras

    model = network(keras, name)
    with np.load(folder / f"{name}.npz") as weights:
        for layer in _leaves(model):
            own = [one for one in weights.files if one.startswith(f"{layer.name}/")]
            if own:
                layer.set_weights([weights[f"{layer.name}/{number}"] for number in range(len(own))])
    model.save(folder / f"{name}.keras")
    images = np.load(folder / "images.npy").astype(np.float32)
    np.save(folder / f"{name}.keras.answers.npy", model.predict(images, verbose=0, batch_size=64))


if __name__ == "__main__":
    _write_keras3(sys.argv[1], Path(sys.argv[2]))
