"""A handle becomes a Backbone: a frozen feature extractor. One kind of source is one file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tledge.errors import InputError
from tledge.preprocessing import PIXEL_SCALE
from tledge.records import BackboneRecord

DEFAULT = "https://tfhub.dev/google/tf2-preview/mobilenet_v2/feature_vector/4"
BUNDLED = "bundled"
MAX_INPUT_SIZE = 4096  # far over any image classifier's: it stops a slip of the finger, not a use


@dataclass(frozen=True)
class Backbone:
    """A loaded feature extractor. ``layer``: float32 RGB (N, S, S, 3) in [0, 1] to float32 (N, feature_dim)."""

    handle: str
    sha256: str
    input_size: int
    feature_dim: int
    layer: Any

    @cached_property
    def features_of_pixels(self) -> Any:
        """A tf.function of raw pixels, uint8 (N, S, S, 3), to features, float32 (N, feature_dim)."""
        import tensorflow as tf

        # Without autograph: there is nothing to rewrite, and looking for it takes a second.
        @tf.function(autograph=False)  # type: ignore[untyped-decorator]
        def features(pixels: Any) -> Any:
            return self.layer(tf.cast(pixels, tf.float32) * PIXEL_SCALE, training=False)

        return features

    def record(self) -> BackboneRecord:
        """What the manifest says of it."""
        return BackboneRecord(
            handle=self.handle, sha256=self.sha256, input_size=self.input_size, feature_dim=self.feature_dim
        )


def open_backbone(handle: str, input_size: int | None = None) -> Backbone:
    """Load a backbone: ``bundled``, a TensorFlow Hub handle, or a local folder in the Hub's format.

    ``input_size`` is needed only for a module that takes any size. Raises InputError for one out of range.
    """
    from tledge.backbones import hub

    if input_size is not None and not 1 <= input_size <= MAX_INPUT_SIZE:
        raise InputError(f"--image-size {input_size}: use a whole number from 1 to {MAX_INPUT_SIZE}")
    return hub.open_hub(handle, input_size)
