"""This family is the layers that scale each channel and add to it."""

from __future__ import annotations

import numpy as np

from tledge.importing.keras_models.calls import Call
from tledge.importing.keras_models.writer import Value, Writer, affine

_LEAST_DEVIATION = 1e-7  # Keras' epsilon, below which Normalization takes no standard deviation


def _batch_normalization(writer: Writer, call: Call, value: Value) -> Value:
    layer = call.layer
    (axis,) = np.asarray(layer.axis).reshape(-1)
    if axis not in (-1, value.rank - 1):
        raise call.unknown("it normalizes another axis than the channels")
    config = {"epsilon": float(layer.epsilon), "center": bool(layer.center), "scale": bool(layer.scale)}
    weights = [*([layer.gamma] if layer.scale else []), *([layer.beta] if layer.center else [])]
    weights += [layer.moving_mean, layer.moving_variance]
    return writer.add(layer.name, "BatchNormalization", config, value, weights)


def _normalization(writer: Writer, call: Call, value: Value) -> Value:
    layer = call.layer
    mean, variance = (np.asarray(one, np.float64) for one in (layer.mean, layer.variance))
    for one in (mean, variance):
        if one.size not in (1, value.channels) or (one.size > 1 and one.shape[-1] != one.size):
            raise call.unknown("it normalizes other axes than the channels")
    deviation = np.maximum(np.sqrt(variance), _LEAST_DEVIATION)
    if layer.invert:
        return affine(writer, layer.name, value, deviation, mean)
    return affine(writer, layer.name, value, 1 / deviation, -mean / deviation)


def _rescaling(writer: Writer, call: Call, value: Value) -> Value:
    scale, offset = (np.asarray(one, np.float64) for one in (call.layer.scale, call.layer.offset))
    for one in (scale, offset):
        if one.size not in (1, value.channels) or (one.size > 1 and one.shape[-1] != one.size):
            raise call.unknown("its scale is neither one number nor one a channel")
    return affine(writer, call.layer.name, value, scale, offset)


LAYERS = {
    "BatchNormalization": _batch_normalization,
    "Normalization": _normalization,
    "Rescaling": _rescaling,
}
