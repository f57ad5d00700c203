"""A model whose layers are not known becomes a SavedModel that takes raw pixels, with the model inside as it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tledge.normalization import LUMA, Normalization
from tledge.saved_models import load_saved_model
from tledge.tensorflow_setup import tensorflow


def save_logits(logits: Callable[[Any], Any], holds: Any, shape: tuple[int | None, ...], folder: Path) -> Path:
    """Write a SavedModel whose signature ``serving_default`` maps images, float32 of ``shape``, to ``logits`` of them.

    ``holds`` are the objects whose variables the function reads.
    """
    tf = tensorflow()
    module = tf.Module()
    module.holds = holds
    spec = tf.TensorSpec(shape, tf.float32, name="images")
    serve = tf.function(lambda images: {"logits": logits(images)}, input_signature=[spec], autograph=False)
    tf.saved_model.save(
        module, str(folder), {"serving_default": serve}, tf.saved_model.SaveOptions(save_debug_info=False)
    )
    return folder


def wrapped(folder: Path, size: int, channels: int, normalization: Normalization) -> Any:
    """Wrap a SavedModel in the kind of tf.Module that :func:`tledge.training.saved_model.compose` returns, without ``classify``.

    Args:
        folder: The folder of the SavedModel, whose signature ``serving_default`` takes one tensor of images and gives logits.
        size: The side S of its photos in pixels.
        channels: 3, or 1 for grey photos.
        normalization: What it takes for a pixel.
    """
    tf = tensorflow()
    loaded = load_saved_model(folder, "the imported model")
    inner = loaded.signatures["serving_default"]
    ((name, takes),) = inner.structured_input_signature[1].items()
    scale, offset = (np.array(values[:channels], np.float32) for values in (normalization.scale, normalization.offset))
    grey = np.array(LUMA, np.float32)[:, None]
    shape = [None, size, size, 3]

    class Wrapped(tf.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__(name="classifier")
            self.model = loaded

        @tf.function(input_signature=[tf.TensorSpec(shape, tf.uint8, name="pixels")], autograph=False)  # type: ignore[untyped-decorator]
        def serve(self, pixels: Any) -> Any:
            return self.serve_float(tf.cast(pixels, tf.float32))

        @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32, name="pixels")], autograph=False)  # type: ignore[untyped-decorator]
        def serve_float(self, pixels: Any) -> Any:
            images = (tf.tensordot(pixels, grey, 1) if channels == 1 else pixels) * scale + offset
            images = tf.reverse(images, [-1]) if normalization.is_bgr else images
            (logits,) = inner(**{name: tf.cast(images, takes.dtype)}).values()
            return {"logits": logits, "probabilities": tf.nn.softmax(logits)}

    return Wrapped()
