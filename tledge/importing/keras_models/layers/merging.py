"""This family is the layers that read several layers."""

from __future__ import annotations

from typing import Any

from tledge.importing.keras_models.calls import Call
from tledge.importing.keras_models.writer import Value, Writer


def _values(call: Call, given: Any) -> list[Value]:
    values = list(given) if isinstance(given, list | tuple) else [given]
    if len(values) < 2 or any(not isinstance(one, Value) or one.rank != len(call.shape) for one in values):
        raise call.unknown("it reads values of different numbers of axes")
    return values


def _add(writer: Writer, call: Call, given: Any) -> Value:
    return writer.add(call.layer.name, "Add", {}, _values(call, given), shape=call.shape)


def _multiply(writer: Writer, call: Call, given: Any) -> Value:
    return writer.add(call.layer.name, "Multiply", {}, _values(call, given), shape=call.shape)


def _subtract(writer: Writer, call: Call, given: Any) -> Value:
    return writer.add(call.layer.name, "Subtract", {}, _values(call, given), shape=call.shape)


def _concatenate(writer: Writer, call: Call, given: Any) -> Value:
    values = _values(call, given)
    axis = int(getattr(call.layer, "axis", call.kwargs.get("axis", -1)))
    if axis not in (-1, len(call.shape) - 1):
        raise call.unknown("it concatenates another axis than the channels")
    return writer.add(call.layer.name, "Concatenate", {"axis": -1}, values, shape=call.shape)


LAYERS = {
    "Add": _add,
    "Concatenate": _concatenate,
    "Multiply": _multiply,
    "Subtract": _subtract,
    "ops.Concatenate": _concatenate,
}
