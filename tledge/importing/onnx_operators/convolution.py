"""Convolutions are described here: those of all channels, those in groups, and depthwise ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from tledge.backbones.described import Floats
from tledge.importing.onnx_values import Layers, Node, Value, feature_map
from tledge.importing.onnx_windows import padded, windows


def conv(node: Node, layers: Layers) -> Value:
    """Describe Conv as a layer of its kind. Its kernel (M, C / groups, kH, kW) becomes (kH, kW, C / groups, M)."""
    value = node.value()
    kernel = node.weights(1)
    if kernel.ndim != 4:
        raise node.unknown("works on other than two axes")
    value = layers.as_map(value, node)
    channels, height, width = value.shape
    groups = int(node.attributes.get("group", 1))
    filters = kernel.shape[0]
    if groups < 1 or kernel.shape[1] * groups != channels or filters % groups:
        raise node.unknown(f"has kernels {kernel.shape} in {groups} groups for {channels} channels")
    steps = tuple(node.attributes.get("strides", (1, 1)))
    dilations = tuple(node.attributes.get("dilations", (1, 1)))
    is_depthwise = groups == channels and groups > 1 and len(set(steps)) == 1
    sizes = tuple((size - 1) * dilation + 1 for size, dilation in zip(kernel.shape[2:], dilations, strict=True))
    rows, columns = windows(node, sizes, height, width)
    # TensorFlow has no kernel that strides and dilates, and no depthwise one with two dilations: zeros do the same.
    if (max(steps) > 1 and max(dilations) > 1) or (is_depthwise and len(set(dilations)) > 1):
        kernel, dilations = _spread(kernel, dilations), (1, 1)
    is_same = node.attributes.get("auto_pad") == "SAME_UPPER"
    layer = value.layer if is_same else padded(node, layers, value.layer, rows, columns)
    if is_same and rows.is_valid and columns.is_valid and (rows.step, columns.step) == (1, 1):
        is_same = False  # a kernel of one pixel
    bias = node.constant(2)
    config: dict[str, Any] = {
        "kernel_size": [int(size) for size in kernel.shape[2:]],
        "strides": [int(step) for step in steps],
        "padding": "same" if is_same else "valid",
        "dilation_rate": [int(dilation) for dilation in dilations],
        "use_bias": bias is not None,
    }
    biases = () if bias is None else (np.asarray(bias, np.float32).reshape(filters),)
    held = kernel.transpose(2, 3, 1, 0)
    if is_depthwise:
        each = filters // channels
        held = held.reshape(*held.shape[:2], channels, each)
        made = layers.add(node.name, "DepthwiseConv2D", layer, (held, *biases), depth_multiplier=each, **config)
    else:
        made = layers.add(node.name, "Conv2D", layer, (held, *biases), filters=filters, groups=groups, **config)
    return feature_map(made, (rows.count, columns.count, filters))


def _spread(kernel: Floats, dilations: tuple[int, ...]) -> Floats:
    """Return the kernel with zeros between its numbers, which needs no dilation."""
    sizes = [(size - 1) * dilation + 1 for size, dilation in zip(kernel.shape[2:], dilations, strict=True)]
    spread = np.zeros((*kernel.shape[:2], *sizes), np.float32)
    spread[:, :, :: dilations[0], :: dilations[1]] = kernel
    return spread


OPERATORS = {"Conv": conv}
