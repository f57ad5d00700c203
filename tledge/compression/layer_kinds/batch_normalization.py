"""This kind of layer normalizes each channel, and is folded into the weights before it."""

from __future__ import annotations

from typing import Any

import numpy as np

from tledge.compression.layer_kinds import LayerKind, Normalization


def _normalization(layer: Any) -> Normalization:
    mean, variance = (np.asarray(v, np.float64) for v in (layer.moving_mean, layer.moving_variance))
    factor = 1 / np.sqrt(variance + layer.epsilon)
    if layer.scale:
        factor = factor * np.asarray(layer.gamma, np.float64)
    offset = np.asarray(layer.beta, np.float64) if layer.center else np.zeros_like(mean)
    return Normalization(mean, factor, offset)


KIND = LayerKind("batch_normalization", ("BatchNormalization",), normalization=_normalization)
