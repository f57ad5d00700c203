"""This family is sums and products that a model's author wrote as formulas, such as ``x / 127.5 - 1``."""

from __future__ import annotations

from typing import Any

import numpy as np

from tledge.importing.keras_models.calls import Call
from tledge.importing.keras_models.writer import Channel, Value, Writer, affine

_MOST_EXCHANGED = 4


def _operands(call: Call) -> tuple[Any, Any]:
    """Return both operands; each is a Value or an array of one number, or one number a channel."""
    given = [
        *call.args,
        *(call.kwargs[name] for name in ("x", "x1", "y", "x2", "value", "bias") if name in call.kwargs),
    ]
    if len(given) < 2:
        raise call.unknown("it has no two operands")
    left, right = given[:2]
    values = [one for one in (left, right) if isinstance(one, Value)]
    if len(values) == 2 and values[0].rank != values[1].rank:
        raise call.unknown("its operands have different numbers of axes")
    if not values:
        raise call.unknown("it reads no layer")
    return tuple(one if isinstance(one, Value) else _constant(call, one, values[0]) for one in (left, right))  # type: ignore[return-value]


def _constant(call: Call, given: Any, value: Value) -> Any:
    try:
        array = np.asarray(given, np.float64)
    except (TypeError, ValueError) as error:
        raise call.unknown("an operand is no number") from error
    if array.size != 1 and (array.size != value.channels or array.shape[-1] != array.size or array.ndim > value.rank):
        raise call.unknown("an operand is neither one number nor one a channel")
    return array.reshape(-1)


def _add(writer: Writer, call: Call, given: Any) -> Value:
    left, right = _operands(call)
    if isinstance(left, Value) and isinstance(right, Value):
        return writer.add(call.layer.name, "Add", {}, [left, right], shape=call.shape)
    value, constant = (left, right) if isinstance(left, Value) else (right, left)
    return affine(writer, call.layer.name, value, 1.0, constant)


def _subtract(writer: Writer, call: Call, given: Any) -> Value:
    left, right = _operands(call)
    if isinstance(left, Value) and isinstance(right, Value):
        if left.shape != right.shape:
            raise call.unknown("its operands have different shapes")
        return writer.add(call.layer.name, "Subtract", {}, [left, right], shape=call.shape)
    if isinstance(left, Value):
        return affine(writer, call.layer.name, left, 1.0, -right)
    return affine(writer, call.layer.name, right, -1.0, left)


def _multiply(writer: Writer, call: Call, given: Any) -> Value:
    left, right = _operands(call)
    if isinstance(left, Value) and isinstance(right, Value):
        return writer.add(call.layer.name, "Multiply", {}, [left, right], shape=call.shape)
    value, constant = (left, right) if isinstance(left, Value) else (right, left)
    return affine(writer, call.layer.name, value, constant, 0.0)


def _divide(writer: Writer, call: Call, given: Any) -> Value:
    left, right = _operands(call)
    if not isinstance(left, Value) or isinstance(right, Value) or not np.all(right):
        raise call.unknown("it divides by what is no constant")
    return affine(writer, call.layer.name, left, 1 / right, 0.0)


def _negative(writer: Writer, call: Call, given: Any) -> Value:
    return affine(writer, call.layer.name, given, -1.0, 0.0)


def _item(writer: Writer, call: Call, given: Any) -> Value | Channel:
    """Describe ``x[..., ::-1]``, by which networks of Caffe turn RGB to BGR, and ``x[..., 0]``, which is one channel."""
    key = call.args[1] if len(call.args) > 1 else call.kwargs.get("key", call.kwargs.get("slice_spec"))
    parts = [_as_slice(one) for one in key] if isinstance(key, list | tuple) else [_as_slice(key)]
    is_open = any(one is Ellipsis for one in parts[:-1])
    is_whole = all(one is Ellipsis or one == slice(None) for one in parts[:-1])
    if given.rank != 4 or not is_whole or (len(parts) != given.rank and not is_open):
        raise call.unknown("it takes a part of its input")
    if type(parts[-1]) is int and -given.channels <= parts[-1] < given.channels:
        return Channel(given, parts[-1] % given.channels)
    if parts[-1] != slice(None, None, -1):
        raise call.unknown("it takes a part of its input")
    return _chosen(writer, call, given, list(range(given.channels))[::-1])


def _stack(writer: Writer, call: Call, given: Any) -> Value:
    """Describe ``stack([x[..., 2], x[..., 1], x[..., 0]], axis=-1)``."""
    axis = call.kwargs.get("axis", getattr(call.layer, "axis", None))
    channels = [one for one in given if isinstance(one, Channel)] if isinstance(given, list | tuple) else []
    if axis not in (-1, len(call.shape) - 1) or not channels or len(channels) < len(given):
        raise call.unknown("it stacks other things than channels")
    if any(one.value != channels[0].value for one in channels):
        raise call.unknown("it stacks channels of several layers")
    return _chosen(writer, call, channels[0].value, [one.number for one in channels])


def _chosen(writer: Writer, call: Call, value: Value, channels: list[int]) -> Value:
    """Add a convolution that gives some channels of a value, in their order."""
    if value.channels > _MOST_EXCHANGED:
        raise call.unknown("it exchanges many channels")
    kernel = np.eye(value.channels)[None, None, :, channels]
    config = {"filters": len(channels), "kernel_size": [1, 1], "use_bias": False}
    return writer.add(call.layer.name, "Conv2D", config, value, [kernel], call.shape)


def _as_slice(part: Any) -> Any:
    if isinstance(part, str) and part == "Ellipsis":
        return Ellipsis
    if isinstance(part, dict) and part.keys() <= {"start", "stop", "step"}:
        return slice(part.get("start"), part.get("stop"), part.get("step"))
    return part


def _cast(writer: Writer, call: Call, given: Any) -> Value:
    asked = call.kwargs.get("dtype", getattr(call.layer, "dtype", call.args[1] if len(call.args) > 1 else None))
    if "float32" not in str(getattr(asked, "name", asked)):
        raise call.unknown("it makes numbers that are not float32")
    assert isinstance(given, Value)
    return given


LAYERS = {
    "ops.Add": _add,
    "ops.Cast": _cast,
    "ops.Divide": _divide,
    "ops.GetItem": _item,
    "ops.Multiply": _multiply,
    "ops.Negative": _negative,
    "ops.Stack": _stack,
    "ops.Subtract": _subtract,
    "ops.TrueDivide": _divide,
    "tf.__operators__.add": _add,
    "tf.__operators__.getitem": _item,
    "tf.cast": _cast,
    "tf.math.add": _add,
    "tf.math.divide": _divide,
    "tf.math.multiply": _multiply,
    "tf.math.negative": _negative,
    "tf.math.subtract": _subtract,
    "tf.math.truediv": _divide,
    "tf.nn.bias_add": _add,
}
