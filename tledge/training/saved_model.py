"""The original is one SavedModel of backbone and head that takes raw pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.backbones import RESCALE, Backbone
from tledge.plain_path import plain_path
from tledge.preprocessing import PIXEL_SCALE
from tledge.tensorflow_setup import tensorflow
from tledge.training.fit import Head

Floats = npt.NDArray[np.float32]


def compose(backbone: Backbone, head: Head) -> Any:
    """Compose backbone and head into a tf.Module with two functions of photos, and with ``classify`` for features.

    The functions of photos return ``logits`` and ``probabilities``, each float32 (N, num_classes):

    ``serve`` takes uint8 RGB (N, S, S, 3), the input contract of every artifact;
    ``serve_float`` takes the same bytes as float32 in [0, 255], for quantizers, which need a float graph input.
    """
    tf = tensorflow()
    shape = [None, backbone.input_size, backbone.input_size, 3]

    class Classifier(tf.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__(name="classifier")
            # The layer's content is kept: saving the Keras layer itself would trace and store it twice more.
            self.backbone = backbone.layer.resolved_object if backbone.graph is None else list(backbone.graph.weights)
            self.head = [
                (tf.Variable(kernel, name=f"head/{number}/kernel"), tf.Variable(bias, name=f"head/{number}/bias"))
                for number, (kernel, bias) in enumerate(head.layers)
            ]

        @tf.function(input_signature=[tf.TensorSpec(shape, tf.uint8, name="pixels")], autograph=False)  # type: ignore[untyped-decorator]
        def serve(self, pixels: Any) -> Any:
            return self.serve_float(tf.cast(pixels, tf.float32))

        @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32, name="pixels")], autograph=False)  # type: ignore[untyped-decorator]
        def serve_float(self, pixels: Any) -> Any:
            logits = self.classify(backbone.layer(pixels * PIXEL_SCALE, training=False))
            return {"logits": logits, "probabilities": tf.nn.softmax(logits)}

        def classify(self, features: Any) -> Any:
            values = features
            for number, (kernel, bias) in enumerate(self.head):
                values = tf.linalg.matmul(tf.nn.relu(values) if number else values, kernel) + bias
            return values

    return Classifier()


def of_network(network: Any, input_size: int) -> Any:
    """Wrap a Keras network in the kind of tf.Module that :func:`compose` returns, but without ``classify``.

    The network maps float32 RGB in [0, 1] to logits.
    """
    tf = tensorflow()
    shape = [None, input_size, input_size, 3]
    scale, offset, deployed = _without_rescale(network)

    class Network(tf.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__(name="classifier")
            # Only variables are kept: saving the Keras model itself would trace and store it twice more.
            self.weights = list(network.weights)

        @tf.function(input_signature=[tf.TensorSpec(shape, tf.uint8, name="pixels")], autograph=False)  # type: ignore[untyped-decorator]
        def serve(self, pixels: Any) -> Any:
            return self.serve_float(tf.cast(pixels, tf.float32))

        @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32, name="pixels")], autograph=False)  # type: ignore[untyped-decorator]
        def serve_float(self, pixels: Any) -> Any:
            logits = deployed(pixels * scale + offset, training=False)
            return {"logits": logits, "probabilities": tf.nn.softmax(logits)}

    return Network()


def _without_rescale(network: Any) -> tuple[Floats, Floats, Any]:
    """Return scale and offset of pixels, float32 (3,) or (1,), and the rest of the network that follows them.

    The layer that rescales [0, 1] becomes arithmetic, which a converter folds into the operators around it. As a
    convolution it would take time on a device.
    """
    import tf_keras

    if all(layer.name != RESCALE for layer in network.layers):
        return np.array([PIXEL_SCALE], np.float32), np.zeros(1, np.float32), network
    layer = network.get_layer(RESCALE)
    kernel, offset = layer.get_weights()
    scale = kernel.reshape(-1) * np.float32(PIXEL_SCALE)
    if np.ptp(scale) == 0 and np.ptp(offset) == 0:  # one number for all channels
        scale, offset = scale[:1], offset[:1]
    return scale, offset, tf_keras.Model(layer.output, network.output)


def save(model: Any, folder: Path) -> None:
    """Write the SavedModel, with both functions of photos as signatures."""
    tf = tensorflow()
    signatures = {"serving_default": model.serve, "float_pixels": model.serve_float}
    with plain_path(folder.parent) as parent:
        tf.saved_model.save(
            model, f"{parent}/{folder.name}", signatures, tf.saved_model.SaveOptions(save_debug_info=False)
        )


def logits_of(model: Any, features: Floats) -> Floats:
    """Compute the model's logits, float32 (N, num_classes), from TensorFlow's features, float32 (N, feature_dim)."""
    return np.asarray(model.classify(tensorflow().constant(features)), np.float32)
