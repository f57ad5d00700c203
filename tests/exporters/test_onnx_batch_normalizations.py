"""Batch normalizations that follow no convolution, or seem to follow none, are int8 too, and compute what they did."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tledge.audit import audit, broken_promises
from tledge.exporters import ConverterInput, formats
from tledge.exporters.onnx import _signature
from tledge.exporters.onnx_graph import INPUT, batch_normalizations_to_convolutions, of_function
from tledge.training.saved_model import of_network, save

SIZE = 8
PHOTOS = np.random.default_rng(0).integers(0, 256, (16, SIZE, SIZE, 3), np.uint8)


def _network() -> Any:
    """Maps of 1 x 1 pixel as in Inception's last blocks, and a sum that is normalized as in ResNetV2."""
    import tf_keras
    from tf_keras import layers

    def conv(x: Any, channels: int, kernel_size: tuple[int, int], padding: str = "same") -> Any:
        x = layers.Conv2D(channels, kernel_size, padding=padding, use_bias=False)(x)
        return layers.ReLU()(layers.BatchNormalization()(x))

    images = layers.Input((SIZE, SIZE, 3))
    x = conv(images, 8, (3, 3))
    x = layers.Add()([x, conv(x, 8, (3, 3))])
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.MaxPooling2D(SIZE)(x)
    x = layers.Concatenate()([conv(conv(x, 6, (1, 1)), 6, (1, 3)), conv(x, 6, (3, 1))])
    x = layers.GlobalAveragePooling2D()(x)
    return tf_keras.Model(images, layers.Dense(4)(x))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ConverterInput:
    """The network with statistics that differ from channel to channel, as a run holds it."""
    from tledge.tensorflow_setup import tensorflow

    tensorflow(seed=0)
    network = _network()
    rng = np.random.default_rng(1)
    for layer in network.layers:
        if type(layer).__name__ == "BatchNormalization":
            layer.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])
    folder = tmp_path_factory.mktemp("network")
    save(of_network(network, SIZE), folder)
    photos = PHOTOS.copy()
    photos[0, 0, :2] = [[0] * 3, [255] * 3]
    return ConverterInput(folder, SIZE, "{}", photos, bounds_pairs=True)  # as an export makes it: the same on every CPU


def _answers(data: bytes, photos: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {INPUT: photo[None]})[0] for photo in photos])


def _original(model: ConverterInput) -> np.ndarray:
    import tensorflow as tf

    served = tf.saved_model.load(str(model.saved_model)).signatures["serving_default"]
    return np.asarray(served(pixels=tf.constant(PHOTOS))["probabilities"])


def test_every_batch_normalization_is_integer_and_the_answers_are_the_originals(
    model: ConverterInput, tmp_path: Path
) -> None:
    form = formats()["onnx-int8"]
    path = tmp_path / form.file
    path.write_bytes(form.convert(model))
    found = audit(path)
    assert broken_promises(found, form.promise, form.file, form.options) == []
    assert "BatchNormalization" not in {operator.name for operator in found.operators}
    # Seven bits of a probability and of each map on the way to it.
    np.testing.assert_allclose(_answers(path.read_bytes(), PHOTOS), _original(model), atol=0.03)


def test_a_normalization_that_follows_no_convolution_becomes_one_that_computes_the_same(model: ConverterInput) -> None:
    graph = of_function(_signature(model, "float_pixels"), SIZE, "float32")
    before = Counter(node.op_type for node in graph.graph.node)
    batch_normalizations_to_convolutions(graph)
    after = Counter(node.op_type for node in graph.graph.node)
    assert before["BatchNormalization"] > after["BatchNormalization"]
    assert after["Conv"] - before["Conv"] == 1  # the others follow a convolution, whose part they become
    answers = _answers(graph.SerializeToString(), PHOTOS.astype(np.float32))
    np.testing.assert_allclose(answers, _original(model), atol=1e-5)


def test_no_reshape_is_left_between_a_convolution_and_its_normalization(model: ConverterInput) -> None:
    graph = of_function(_signature(model, "serving_default"), SIZE, "uint8").graph
    producer = {name: node.op_type for node in graph.node for name in node.output}
    read = [producer[node.input[0]] for node in graph.node if node.op_type == "BatchNormalization"]
    assert "Reshape" not in read
