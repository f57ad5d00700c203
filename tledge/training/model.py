"""The original: backbone and head as one SavedModel that takes raw pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.backbones import Backbone
from tledge.cache import Rows
from tledge.preprocessing import PIXEL_SCALE
from tledge.progress import Progress
from tledge.tensorflow_setup import tensorflow
from tledge.training.fit import Head

_BATCH = 32


def compose(backbone: Backbone, head: Head) -> Any:
    """A tf.Module with two functions, each to a dict of float32 (N, num_classes) ``logits`` and ``probabilities``:

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
            self.kernel = tf.Variable(head.kernel, name="head/kernel")
            self.bias = tf.Variable(head.bias, name="head/bias")

        @tf.function(input_signature=[tf.TensorSpec(shape, tf.uint8, name="pixels")])  # type: ignore[untyped-decorator]
        def serve(self, pixels: Any) -> Any:
            return self.serve_float(tf.cast(pixels, tf.float32))

        @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32, name="pixels")])  # type: ignore[untyped-decorator]
        def serve_float(self, pixels: Any) -> Any:
            features = backbone.layer(pixels * PIXEL_SCALE, training=False)
            logits = tf.linalg.matmul(features, self.kernel) + self.bias
            return {"logits": logits, "probabilities": tf.nn.softmax(logits)}

    return Classifier()


def save(model: Any, folder: Path) -> None:
    """Write the SavedModel with both functions as signatures."""
    tf = tensorflow()
    signatures = {"serving_default": model.serve, "float_pixels": model.serve_float}
    tf.saved_model.save(model, str(folder), signatures, tf.saved_model.SaveOptions(save_debug_info=False))


def logits_of(model: Any, pixels: Rows, progress: Progress) -> npt.NDArray[np.float32]:
    """The model's logits, float32 (N, num_classes), computed on TensorFlow's device."""
    tf = tensorflow()
    out = []
    with progress.step("the original's answers on the test split", len(pixels)) as advance:
        for batch in pixels.batches(_BATCH):
            out.append(model.serve(tf.constant(batch))["logits"].numpy())
            advance(len(batch))
    return np.concatenate(out)
