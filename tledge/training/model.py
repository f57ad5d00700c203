"""The original: backbone and head as one SavedModel that takes raw pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.backbones import Backbone
from tledge.backbones.mobilenet_v2 import RESCALE
from tledge.preprocessing import PIXEL_SCALE
from tledge.tensorflow_setup import tensorflow
from tledge.training.fit import Head


def compose(backbone: Backbone, head: Head) -> Any:
    """A tf.Module whose ``classify`` takes features, and with two functions of photos to ``logits`` and ``probabilities``,
    each float32 (N, num_classes):

    ``serve``: uint8 RGB (N, S, S, 3), the input contract of every artifact;
    ``serve_float``: the same bytes as float32 in [0, 255], for quantizers, which need a float graph input.
    """
    tf = tensorflow()
    shape = [None, backbone.input_size, backbone.input_size, 3]

    class Classifier(tf.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__(name="classifier")
            # What the layer wraps: saving the Keras layer itself would trace and store it twice more.
            self.backbone = backbone.layer.resolved_object
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
    """A Keras network, float32 RGB in [0, 1] to logits, as the same kind of tf.Module but without ``classify``."""
    tf = tensorflow()
    shape = [None, input_size, input_size, 3]
    scale, offset, deployed = PIXEL_SCALE, 0.0, network
    if any(layer.name == RESCALE for layer in network.layers):
        # As arithmetic on pixels, which a converter folds into what is around it; as a convolution it takes time.
        import tf_keras

        scale, offset = 2 * PIXEL_SCALE, -1.0
        deployed = tf_keras.Model(network.get_layer(RESCALE).output, network.output)

    class Network(tf.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__(name="classifier")
            # Its variables, not the Keras model: saving that would trace and store it twice more.
            self.weights = list(network.weights)

        @tf.function(input_signature=[tf.TensorSpec(shape, tf.uint8, name="pixels")], autograph=False)  # type: ignore[untyped-decorator]
        def serve(self, pixels: Any) -> Any:
            return self.serve_float(tf.cast(pixels, tf.float32))

        @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32, name="pixels")], autograph=False)  # type: ignore[untyped-decorator]
        def serve_float(self, pixels: Any) -> Any:
            scaled = pixels * scale + offset if offset else pixels * scale
            logits = deployed(scaled, training=False)
            return {"logits": logits, "probabilities": tf.nn.softmax(logits)}

    return Network()


def save(model: Any, folder: Path) -> None:
    """Write the SavedModel with both functions as signatures."""
    tf = tensorflow()
    signatures = {"serving_default": model.serve, "float_pixels": model.serve_float}
    tf.saved_model.save(model, str(folder), signatures, tf.saved_model.SaveOptions(save_debug_info=False))


def logits_of(model: Any, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The model's logits, float32 (N, num_classes), of TensorFlow's own features of photos, float32 (N, feature_dim)."""
    return np.asarray(model.classify(tensorflow().constant(features)), np.float32)
