"""This family is the layers that take the mean or the maximum over parts of maps, or over whole maps."""

from __future__ import annotations

from typing import Any

from tledge.importing.keras_models.calls import Call
from tledge.importing.keras_models.writer import Value, Writer


def _window(kind: str) -> Any:
    def describe(writer: Writer, call: Call, value: Value) -> Value:
        layer = call.layer
        config = {
            "pool_size": [int(one) for one in layer.pool_size],
            "strides": [int(one) for one in layer.strides],
            "padding": str(layer.padding),
        }
        return writer.add(layer.name, kind, config, value, shape=call.shape)

    return describe


def _whole(kind: str) -> Any:
    def describe(writer: Writer, call: Call, value: Value) -> Value:
        return writer.add(call.layer.name, kind, {"keepdims": bool(call.layer.keepdims)}, value, shape=call.shape)

    return describe


def _mean(writer: Writer, call: Call, value: Value) -> Value:
    axis = call.kwargs.get("axis", getattr(call.layer, "axis", call.args[1] if len(call.args) > 1 else None))
    axes = {one % value.rank for one in axis} if isinstance(axis, list | tuple) else set()
    if value.rank != 4 or axes != {1, 2}:
        raise call.unknown("it is no mean over whole maps")
    config = {"keepdims": len(call.shape) == 4}
    return writer.add(call.layer.name, "GlobalAveragePooling2D", config, value, shape=call.shape)


LAYERS = {
    "AveragePooling2D": _window("AveragePooling2D"),
    "GlobalAveragePooling2D": _whole("GlobalAveragePooling2D"),
    "GlobalMaxPooling2D": _whole("GlobalMaxPooling2D"),
    "MaxPooling2D": _window("MaxPooling2D"),
    "ops.Mean": _mean,
    "tf.math.reduce_mean": _mean,
    "tf.reduce_mean": _mean,
}
