"""This module computes the shapes of a described network's values, without a framework."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tledge.backbones.described import IMAGES, DescribedLayer, DescribedNetwork

Shape = tuple[int, ...]


def shapes_of(network: DescribedNetwork) -> dict[str, Shape]:
    """Return the shape of each layer's output, and of the input, without the axis of the batch."""
    shapes: dict[str, Shape] = {IMAGES: (network.input_size, network.input_size, 3)}
    for layer in network.layers:
        shapes[layer.name] = _SHAPES.get(layer.kind, _same)(layer, [shapes[name] for name in layer.reads])
    return shapes


def pair(value: Any) -> tuple[int, int]:
    """Return the numbers for rows and columns, where one number may stand for both."""
    first, second = value if isinstance(value, list | tuple) else (value, value)
    return int(first), int(second)


def sides(padding: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the rows above and below, and the columns left and right, that a ZeroPadding2D adds."""
    rows, columns = padding if isinstance(padding, list | tuple) else (padding, padding)
    return pair(rows), pair(columns)


def _same(layer: DescribedLayer, read: list[Shape]) -> Shape:
    return read[0]


def _broadcast(layer: DescribedLayer, read: list[Shape]) -> Shape:
    return tuple(max(sizes) for sizes in zip(*read, strict=True))


def _window(layer: DescribedLayer, read: Shape, reach: tuple[int, int], strides: tuple[int, int]) -> tuple[int, int]:
    """Return the rows and columns that a window gives."""
    is_same = layer.config.get("padding", "valid") == "same"
    rows, columns = (
        math.ceil(size / stride) if is_same else (size - length) // stride + 1
        for size, length, stride in zip(read[:2], reach, strides, strict=True)
    )
    return rows, columns


def _convolution(channels: Callable[[DescribedLayer, int], int]) -> Callable[[DescribedLayer, list[Shape]], Shape]:
    def shape(layer: DescribedLayer, read: list[Shape]) -> Shape:
        config = layer.config
        kernel, dilation = pair(config["kernel_size"]), pair(config.get("dilation_rate", 1))
        reach = ((kernel[0] - 1) * dilation[0] + 1, (kernel[1] - 1) * dilation[1] + 1)
        return (
            *_window(layer, read[0], reach, pair(config.get("strides", 1))),
            channels(layer, read[0][-1]),
        )

    return shape


def _pooling(layer: DescribedLayer, read: list[Shape]) -> Shape:
    size = pair(layer.config.get("pool_size", 2))
    strides = layer.config.get("strides")
    return (*_window(layer, read[0], size, size if strides is None else pair(strides)), read[0][-1])


def _whole(layer: DescribedLayer, read: list[Shape]) -> Shape:
    channels = read[0][-1]
    return (1, 1, channels) if layer.config.get("keepdims") else (channels,)


def _padding(layer: DescribedLayer, read: list[Shape]) -> Shape:
    rows, columns = sides(layer.config.get("padding", 1))
    return read[0][0] + sum(rows), read[0][1] + sum(columns), read[0][2]


def _concatenate(layer: DescribedLayer, read: list[Shape]) -> Shape:
    axis = layer.config.get("axis", -1)
    axis = axis - 1 if axis > 0 else axis  # the axis of the batch counts, too
    shape = list(read[0])
    shape[axis] = sum(one[axis] for one in read)
    return tuple(shape)


def _reshape(layer: DescribedLayer, read: list[Shape]) -> Shape:
    target = [int(one) for one in layer.config["target_shape"]]
    if -1 in target:
        others = math.prod(one for one in target if one != -1)
        target[target.index(-1)] = math.prod(read[0]) // max(others, 1)
    return tuple(target)


_SHAPES: dict[str, Callable[[DescribedLayer, list[Shape]], Shape]] = {
    "Add": _broadcast,
    "AveragePooling2D": _pooling,
    "Concatenate": _concatenate,
    "Conv2D": _convolution(lambda layer, given: int(layer.config["filters"])),
    "Dense": lambda layer, read: (*read[0][:-1], int(layer.config["units"])),
    "DepthwiseConv2D": _convolution(lambda layer, given: given * int(layer.config.get("depth_multiplier", 1))),
    "Flatten": lambda layer, read: (math.prod(read[0]),),
    "GlobalAveragePooling2D": _whole,
    "GlobalMaxPooling2D": _whole,
    "MaxPooling2D": _pooling,
    "Multiply": _broadcast,
    "Permute": lambda layer, read: tuple(read[0][one - 1] for one in layer.config["dims"]),
    "Reshape": _reshape,
    "Subtract": _broadcast,
    "ZeroPadding2D": _padding,
}
