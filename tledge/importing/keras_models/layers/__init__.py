"""Each file of this package describes one family of layers, in ``LAYERS``: a function for each kind of call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tledge.importing.keras_models.calls import Call
from tledge.importing.keras_models.layers import (
    activations,
    arithmetic,
    convolutions,
    merging,
    normalizations,
    pooling,
    shapes,
)
from tledge.importing.keras_models.writer import Channel, Value, Writer

Describe = Callable[[Writer, Call, Any], Value | Channel]
_FAMILIES = (activations, arithmetic, convolutions, merging, normalizations, pooling, shapes)
LAYERS: dict[str, Describe] = {kind: one for family in _FAMILIES for kind, one in family.LAYERS.items()}


def describe(writer: Writer, call: Call) -> Any:
    """Describe one call of a layer, and return its output. Raises LayersUnknown."""
    given = call.args[0] if call.args else next(iter(call.kwargs.values()), None)
    if any(isinstance(one, Channel) for one in call.args):
        raise call.unknown("it reads one channel by itself")
    if call.is_idle:
        return given
    if call.kind not in LAYERS:
        raise call.unknown("tledge knows no arithmetic for this kind of layer")
    if getattr(call.layer, "data_format", "channels_last") == "channels_first":
        raise call.unknown("its channels come first")
    if getattr(call.layer, "quantization_mode", None):
        raise call.unknown("its weights are quantized")
    return LAYERS[call.kind](writer, call, given)
