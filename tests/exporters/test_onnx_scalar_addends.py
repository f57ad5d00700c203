"""A scalar that is added behind a convolution, as MobileNetV3's hard sigmoid adds 3, keeps no graph from integers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tledge.audit import audit, broken_promises
from tledge.exporters import ConverterInput, formats
from tledge.training.saved_model import of_network, save

SIZE = 16
PHOTOS = np.random.default_rng(0).integers(0, 256, (8, SIZE, SIZE, 3), np.uint8)


def _network() -> Any:
    """A block of MobileNetV3: channels that are weighed by a hard sigmoid of their means, and a sum."""
    import tf_keras
    from tf_keras import layers

    images = layers.Input((SIZE, SIZE, 3))
    x = layers.ReLU()(layers.Conv2D(8, 3, strides=2, padding="same")(images))
    weights = layers.Conv2D(4, 1, activation="relu")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    weights = layers.ReLU(6.0)(layers.Conv2D(8, 1, use_bias=False)(weights) + 3.0) * (1 / 6)
    x = layers.Add()([x, layers.Multiply()([x, weights])])
    return tf_keras.Model(images, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ConverterInput:
    from tledge.tensorflow_setup import tensorflow

    tensorflow(seed=0)
    folder = tmp_path_factory.mktemp("network")
    save(of_network(_network(), SIZE), folder)
    photos = PHOTOS.copy()
    photos[0, 0, :2] = [[0] * 3, [255] * 3]
    return ConverterInput(folder, SIZE, "{}", photos)


def _answers(data: bytes) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"pixels": photo[None]})[0] for photo in PHOTOS])


def test_the_graph_keeps_one_transposition_and_means_of_maps_that_have_an_integer_kernel(model: ConverterInput) -> None:
    import onnx
    import tensorflow as tf

    data = formats()["onnx-float32"].convert(model)
    kinds = Counter(node.op_type for node in onnx.load_model_from_string(data).graph.node)
    assert kinds["Transpose"] <= 1  # of the pixels
    assert (kinds["GlobalAveragePool"], kinds["ReduceMean"]) == (2, 0)
    original = tf.saved_model.load(str(model.saved_model)).signatures["serving_default"]
    expected = original(pixels=tf.constant(PHOTOS))["probabilities"].numpy()
    np.testing.assert_allclose(_answers(data), expected, atol=1e-6)


def test_its_int8_file_keeps_the_promise(model: ConverterInput, tmp_path: Path) -> None:
    form = formats()["onnx-int8"]
    path = tmp_path / form.file
    path.write_bytes(form.convert(model))
    assert broken_promises(audit(path), form.promise, form.file, form.options) == []
    expected = _answers(formats()["onnx-float32"].convert(model))
    np.testing.assert_allclose(_answers(path.read_bytes()), expected, atol=0.02)
