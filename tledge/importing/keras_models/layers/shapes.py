"""This family is the layers that lay values out anew, pad them or resize them."""

from __future__ import annotations

from typing import Any

from tledge.importing.keras_models.calls import Call
from tledge.importing.keras_models.writer import Value, Writer


def _zero_padding2d(writer: Writer, call: Call, value: Value) -> Value:
    (top, bottom), (left, right) = call.layer.padding
    config = {"padding": [[int(top), int(bottom)], [int(left), int(right)]]}
    return writer.add(call.layer.name, "ZeroPadding2D", config, value, shape=call.shape)


def _flatten(writer: Writer, call: Call, value: Value) -> Value:
    return value if value.rank == 2 else writer.add(call.layer.name, "Flatten", {}, value, shape=call.shape)


def _reshape(writer: Writer, call: Call, value: Value) -> Value:
    target = [int(one) for one in call.layer.target_shape]
    return writer.add(call.layer.name, "Reshape", {"target_shape": target}, value, shape=call.shape)


def _reshape_operation(writer: Writer, call: Call, value: Value) -> Value:
    asked = call.kwargs.get("newshape", call.kwargs.get("shape", getattr(call.layer, "newshape", None)))
    asked = call.args[1] if asked is None and len(call.args) > 1 else asked
    if (
        not isinstance(asked, list | tuple)
        or any(not isinstance(one, int) for one in asked[1:])
        or None in call.shape[1:]
    ):
        raise call.unknown("its shape is computed")
    target = [int(one or 0) for one in call.shape[1:]]
    return writer.add(call.layer.name, "Reshape", {"target_shape": target}, value, shape=call.shape)


def _permute(writer: Writer, call: Call, value: Value) -> Value:
    config = {"dims": [int(one) for one in call.layer.dims]}
    return writer.add(call.layer.name, "Permute", config, value, shape=call.shape)


def _resizing(writer: Writer, call: Call, value: Any) -> Value:
    """Leave it out where it changes nothing."""
    target = (int(call.layer.height), int(call.layer.width))
    if not isinstance(value, Value) or value.shape[1:3] != target:
        raise call.unknown(f"it resizes photos to {target[0]} x {target[1]}")
    return value


LAYERS = {
    "CenterCrop": _resizing,
    "Flatten": _flatten,
    "Permute": _permute,
    "RandomCrop": _resizing,
    "Reshape": _reshape,
    "Resizing": _resizing,
    "ZeroPadding2D": _zero_padding2d,
    "ops.Reshape": _reshape_operation,
    "tf.reshape": _reshape_operation,
}
