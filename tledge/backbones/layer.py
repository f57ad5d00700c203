"""This module makes a function of raw pixels from a layer of RGB in [0, 1], and describes its output for one photo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tledge.preprocessing import PIXEL_SCALE


def features_function(layer: Any) -> Any:
    """Make a tf.function that runs a layer of RGB in [0, 1] on raw pixels, uint8 (N, S, S, 3), in inference mode."""
    import tensorflow as tf

    # Autograph is off: there is nothing to rewrite, and the search for it takes a second.
    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def features(pixels: Any) -> Any:
        return layer(tf.cast(pixels, tf.float32) * PIXEL_SCALE, training=False)

    return features


@dataclass(frozen=True)
class Given:
    """A ``Given`` describes the output of a module: its type, and the shape and dtype of a tensor.

    Args:
        kind: The name of the output's type.
        shape: The shape of a tensor, (N, ...), with None for a free dimension. It is None for anything but a tensor.
        dtype: The name of a tensor's dtype, empty for anything but a tensor.
    """

    kind: str
    shape: tuple[int | None, ...] | None
    dtype: str

    @classmethod
    def of(cls, output: Any) -> Given:
        """Describe a tensor, a tensor's specification, or anything else."""
        shape = getattr(output, "shape", None)
        if shape is None or shape.rank is None:
            return cls(type(output).__name__, None, "")
        return cls(type(output).__name__, tuple(shape), output.dtype.name)


def given_for_one(layer: Any, size: int) -> Given:
    """Run a layer on one black photo of ``size`` x ``size`` pixels, and describe the output."""
    return Given.of(layer(np.zeros((1, size, size, 3), np.float32), training=False))
