"""This family is the layers with kernels: convolutions and dense layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from tledge.importing.keras_models.calls import Call
from tledge.importing.keras_models.layers.activations import activated
from tledge.importing.keras_models.writer import Value, Writer, floats


def _conv2d(writer: Writer, call: Call, value: Value) -> Value:
    layer = call.layer
    config = _geometry(call) | {"filters": int(layer.filters), "groups": int(layer.groups)}
    made = writer.add(layer.name, "Conv2D", config, value, _weights(layer, layer.kernel), call.shape)
    return activated(writer, call, made)


def _depthwise_conv2d(writer: Writer, call: Call, value: Value) -> Value:
    layer = call.layer
    kernel = getattr(layer, "depthwise_kernel", None)  # tf_keras calls it so; in Keras 3 it is the kernel
    config = _geometry(call) | {"depth_multiplier": int(layer.depth_multiplier)}
    weights = _weights(layer, layer.kernel if kernel is None else kernel)
    return activated(writer, call, writer.add(layer.name, "DepthwiseConv2D", config, value, weights, call.shape))


def _separable_conv2d(writer: Writer, call: Call, value: Value) -> Value:
    """Describe it as the two convolutions that it computes."""
    layer = call.layer
    config = _geometry(call) | {"use_bias": False, "depth_multiplier": int(layer.depth_multiplier)}
    shape = (*call.shape[:3], value.channels * int(layer.depth_multiplier))
    name = f"{layer.name}_depthwise"
    made = writer.add(name, "DepthwiseConv2D", config, value, [layer.depthwise_kernel], shape)
    pointwise = {"filters": int(layer.filters), "kernel_size": [1, 1], "use_bias": bool(layer.use_bias)}
    weights = _weights(layer, layer.pointwise_kernel)
    return activated(writer, call, writer.add(layer.name, "Conv2D", pointwise, made, weights, call.shape))


def _dense(writer: Writer, call: Call, value: Value) -> Value:
    layer = call.layer
    kernel, use_bias, units = floats(layer.kernel), bool(layer.use_bias), int(layer.units)
    if value.rank == 2:
        config: dict[str, Any] = {"units": units, "use_bias": use_bias}
        made = writer.add(layer.name, "Dense", config, value, _weights(layer, kernel), call.shape)
    elif value.rank == 4:  # on maps it is a convolution of 1 x 1
        config = {"filters": units, "kernel_size": [1, 1], "use_bias": use_bias}
        made = writer.add(layer.name, "Conv2D", config, value, _weights(layer, kernel[None, None]), call.shape)
    else:
        raise call.unknown(f"it reads values of {value.rank} axes")
    return activated(writer, call, made)


def _weights(layer: Any, kernel: Any) -> list[Any]:
    return [kernel, layer.bias] if layer.use_bias else [kernel]


def _geometry(call: Call) -> dict[str, Any]:
    layer = call.layer
    dilation = _pair(layer.dilation_rate)
    if max(_pair(layer.strides)) > 1 and max(dilation) > 1:
        raise call.unknown("it has strides and dilation")
    if layer.padding not in ("same", "valid"):
        raise call.unknown(f"its padding is {layer.padding}")
    return {
        "kernel_size": _pair(layer.kernel_size),
        "strides": _pair(layer.strides),
        "padding": str(layer.padding),
        "dilation_rate": dilation,
        "use_bias": bool(layer.use_bias),
    }


def _pair(value: Any) -> list[int]:
    return [int(one) for one in np.broadcast_to(np.asarray(value), (2,))]


LAYERS = {
    "Conv2D": _conv2d,
    "Dense": _dense,
    "DepthwiseConv2D": _depthwise_conv2d,
    "SeparableConv2D": _separable_conv2d,
}
