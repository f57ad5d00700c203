"""A layer of RGB in [0, 1] as a function of raw pixels, and what it gives for one photo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tledge.preprocessing import PIXEL_SCALE


def features_function(layer: Any) -> Any:
    """A tf.function of raw pixels, uint8 (N, S, S, 3), to what a layer of RGB in [0, 1] makes of them in inference."""
    import tensorflow as tf

    # Without autograph: there is nothing to rewrite, and looking for it takes a second.
    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def features(pixels: Any) -> Any:
        return layer(tf.cast(pixels, tf.float32) * PIXEL_SCALE, training=False)

    return features


@dataclass(frozen=True)
class Given:
    """What a module gives: the type of it, and of a tensor its shape, (N, ...) with None where that is open, and dtype."""

    kind: str
    shape: tuple[int | None, ...] | None
    dtype: str

    @classmethod
    def of(cls, output: Any) -> Given:
        """Of a tensor, its specification, or anything else."""
        shape = getattr(output, "shape", None)
        if shape is None or shape.rank is None:
            return cls(type(output).__name__, None, "")
        return cls(type(output).__name__, tuple(shape), output.dtype.name)


def given_for_one(layer: Any, size: int) -> Given:
    """What a layer gives for one photo of so many pixels: it is run."""
    return Given.of(layer(np.zeros((1, size, size, 3), np.float32), training=False))
