"""This kind of layer is a ReLU or ReLU6, which runtimes compute in the operator of the weights before it."""

from __future__ import annotations

from typing import Any

from tledge.compression.layer_kinds import LayerKind


def _is_plain(layer: Any) -> bool:
    if hasattr(layer, "activation"):
        return layer.activation.__name__ in ("relu", "relu6")
    return layer.max_value in (None, 6.0) and not layer.negative_slope and not layer.threshold


KIND = LayerKind("relu", ("ReLU", "Activation"), claims=_is_plain, part_of=("conv2d", "depthwise_conv2d", "dense"))
