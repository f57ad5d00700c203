"""This module rewrites a described network into the simplest equal one, whatever library's file it came from.

The layers that it leaves are those for which weights can be fitted to integers, as far as the network allows. Each rewriting
gives the same answers up to rounding.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.backbones import RESCALE
from tledge.backbones.described import IMAGES, DescribedLayer, DescribedNetwork, plain_name
from tledge.importing.shapes import Shape, pair, shapes_of, sides

LOGITS = "logits"  # the name of the last layer of a tidy network
Doubles = npt.NDArray[np.float64]
# Float32 numbers that were divided by 255 and multiplied by it again differ by no more.
_ROUNDING = 5e-7
_INPUT, _ORDER = "input_range", "input_order"
# These layers compute along channels alone, so that they take vectors as well as maps.
_POINTWISE = ("Activation", "Add", "BatchNormalization", "LeakyReLU", "Multiply", "ReLU", "Rescaling", "Subtract")


def tidy(network: DescribedNetwork) -> DescribedNetwork:
    """Rewrite a network into the simplest equal one. Its last layer is named ``logits``."""
    for rewrite in (
        _without_reshapes,
        _with_vectors_behind_pooling,
        _without_reshapes,
        _with_same_padding,
        _with_one_input_layer,
        _with_depthwise_scaling,
        _with_joined_dense,
        _with_names,
    ):
        network = rewrite(network)
    return network


def with_input(
    network: DescribedNetwork, scale: Sequence[float], offset: Sequence[float], is_bgr: bool
) -> DescribedNetwork:
    """Put the preparation in front: RGB in [0, 1] to ``scale * x + offset``, then the channels turned around with ``is_bgr``.

    ``scale`` and ``offset`` are three numbers each, for R, G and B. They become a part of the layer ``rescale``, and the order
    of channels a part of the first convolution's kernel. Where that can't be done, a convolution of 1 x 1 exchanges the channels.
    """
    names = {layer.name for layer in network.layers}
    first = plain_name(_INPUT, names)
    config = {"scale": [float(one) for one in scale], "offset": [float(one) for one in offset]}
    before = [DescribedLayer(first, "Rescaling", config, (IMAGES,))]
    if is_bgr:
        kernel = np.eye(3, dtype=np.float32)[None, None, :, ::-1]
        order = plain_name(_ORDER, names)
        before.append(_pointwise(order, kernel, None, first))
    moved = _reading(network.layers, {IMAGES: before[-1].name})
    return _with_names(_with_one_input_layer(network.with_layers([*before, *moved])))


def _without_reshapes(network: DescribedNetwork) -> DescribedNetwork:
    """Leave out layers that change nothing, and let pooling give maps of 1 x 1 where a Reshape made them."""
    shapes = shapes_of(network)
    layers = {layer.name: layer for layer in network.layers}
    stands_for: dict[str, str] = {}
    readers = _readers(network.layers)
    for layer in network.layers[:-1] if len(network.layers) > 1 else ():
        (before, *others) = layer.reads
        if others:
            continue
        changes_nothing = (
            layer.kind in ("Flatten", "Reshape", "Permute")
            and shapes[layer.name] == shapes[before]
            and (layer.kind != "Permute" or list(layer.config["dims"]) == sorted(layer.config["dims"]))
        )
        is_nothing = changes_nothing or layer == replace(layer, kind="Activation", config={"activation": "linear"})
        is_nothing |= layer.kind == "ZeroPadding2D" and not np.any(layer.config["padding"])
        pooling = layers.get(before)
        if is_nothing:
            stands_for[layer.name] = before
        elif (
            layer.kind == "Reshape"
            and pooling
            and pooling.kind in ("GlobalAveragePooling2D", "GlobalMaxPooling2D")
            and readers[before] == 1
            and shapes[layer.name] == (1, 1, *shapes[before])
        ):
            layers[before] = replace(pooling, config={"keepdims": True})
            stands_for[layer.name] = before
    return network.with_layers(_reading((one for one in layers.values() if one.name not in stands_for), stands_for))


def _with_vectors_behind_pooling(network: DescribedNetwork) -> DescribedNetwork:
    """Let a network's end compute on vectors: convolutions of 1 x 1 on maps of 1 x 1 become dense layers.

    A pooling over whole maps then gives vectors, and the Flatten or Reshape that made vectors of its maps is left out.
    """
    for pooling in network.layers:
        if pooling.kind in _POOLINGS and (made := _behind(network, pooling)) is not None:
            network = made
    return network


def _behind(network: DescribedNetwork, pooling: DescribedLayer) -> DescribedNetwork | None:
    """Return the network with vectors behind ``pooling``; None where a layer there needs maps."""
    shapes = shapes_of(network)
    if len(shapes[pooling.name]) != 3 or (start := _as_vector(pooling, shapes[pooling.reads[0]])) is None:
        return None
    vectors, flattened = {pooling.name: start}, dict[str, str]()
    for layer in network.layers:
        if not vectors.keys() & set(layer.reads):
            continue
        made = None
        if layer.kind in ("Flatten", "Reshape") and len(shapes[layer.name]) == 1:
            flattened[layer.name] = layer.reads[0]
            continue
        if vectors.keys() >= set(layer.reads):
            made = _as_vector(layer, shapes[layer.reads[0]])
        if made is None:
            return None
        vectors[layer.name] = made
    last = network.layers[-1].name
    if not flattened or last in vectors:
        return None
    if last in flattened and any(flattened[last] in layer.reads for layer in vectors.values()):
        return None  # another layer stands behind the one that would be the last
    kept = [vectors.get(layer.name, layer) for layer in network.layers if layer.name not in flattened]
    return network.with_layers(_reading(kept, flattened))


_POOLINGS = ("AveragePooling2D", "GlobalAveragePooling2D", "GlobalMaxPooling2D", "MaxPooling2D")


def _as_vector(layer: DescribedLayer, read: Shape) -> DescribedLayer | None:
    """Return the layer that gives as a vector what ``layer`` gives as maps of 1 x 1; None where there is none."""
    if layer.kind in ("GlobalAveragePooling2D", "GlobalMaxPooling2D"):
        return replace(layer, config={"keepdims": False})
    if layer.kind in ("AveragePooling2D", "MaxPooling2D"):
        is_whole = pair(layer.config.get("pool_size", 2)) == read[:2]
        return replace(layer, kind=f"Global{layer.kind}", config={"keepdims": False}) if is_whole else None
    if read[:-1] != (1, 1):
        return None
    if layer.kind in _POINTWISE or (layer.kind == "Concatenate" and layer.config.get("axis", -1) in (-1, 3)):
        return replace(layer, config={**layer.config, "axis": -1}) if "axis" in layer.config else layer
    is_dense = layer.kind == "Conv2D" and layer.weights[0].shape[:2] == (1, 1) and layer.config.get("groups", 1) == 1
    if not is_dense:
        return None
    config = {"units": layer.config["filters"], "use_bias": layer.config.get("use_bias", True)}
    if "activation" in layer.config:
        config["activation"] = layer.config["activation"]
    return replace(layer, kind="Dense", config=config, weights=(layer.weights[0][0, 0], *layer.weights[1:]))


def _with_same_padding(network: DescribedNetwork) -> DescribedNetwork:
    """Let convolutions pad as ``same`` where a ZeroPadding2D before them adds the same zeros that they would read."""
    shapes = shapes_of(network)
    pads = {layer.name: layer for layer in network.layers if layer.kind == "ZeroPadding2D"}
    layers = [
        replace(layer, config={**layer.config, "padding": "same"}, reads=pads[layer.reads[0]].reads)
        if layer.reads[0] in pads and _pads_alike(layer, pads[layer.reads[0]], shapes)
        else layer
        for layer in network.layers
    ]
    read = {name for layer in layers for name in layer.reads} | {layers[-1].name}
    return network.with_layers(one for one in layers if one.name not in pads or one.name in read)


def _pads_alike(layer: DescribedLayer, pad: DescribedLayer, shapes: dict[str, Shape]) -> bool:
    if layer.kind not in ("Conv2D", "DepthwiseConv2D") or layer.config.get("padding", "valid") != "valid":
        return False
    strides, dilation = (pair(layer.config.get(name, 1)) for name in ("strides", "dilation_rate"))
    for axis in (0, 1):
        size, given = shapes[pad.reads[0]][axis], shapes[layer.name][axis]
        reach = (layer.weights[0].shape[axis] - 1) * dilation[axis] + 1
        out = math.ceil(size / strides[axis])
        total = max((out - 1) * strides[axis] + reach - size, 0)
        # Zeros behind the last place that is read make no difference.
        if given != out or total // 2 != sides(pad.config["padding"])[axis][0]:
            return False
    return True


@dataclass(frozen=True)
class _Linear:
    """A ``_Linear`` maps the photo's channels, (3,), to ``matrix @ x + offset`` at each place.

    A matrix of one number stands for that number times as many channels as there are.
    """

    matrix: Doubles
    offset: Doubles

    def then(self, other: _Linear) -> _Linear:
        """Return both maps as one."""
        channels = len(self.matrix)
        matrix = other.matrix if other.matrix.shape != (1, 1) else other.matrix * np.eye(channels)
        return _Linear(matrix @ self.matrix, matrix @ self.offset + other.offset)


def _with_one_input_layer(network: DescribedNetwork) -> DescribedNetwork:
    """Join the layers that scale, shift and exchange the photo's channels into one layer named ``rescale``.

    An exchange of channels becomes a part of the kernels behind it. A grey photo is made by one convolution.
    """
    made, at, dropped = _Linear(np.eye(3), np.zeros(3)), IMAGES, set()
    layers = list(network.layers)
    while True:
        readers = [layer for layer in layers if at in layer.reads]
        step = _linear(readers[0]) if len(readers) == 1 else None
        if step is None or readers[0] is layers[-1]:
            break
        made, at = made.then(step), readers[0].name
        dropped.add(at)
    if not dropped:
        return network
    layers = [layer for layer in layers if layer.name not in dropped]
    before, exchanged = _input_layers(made, {layer.name for layer in layers})
    if exchanged is not None:
        permuted = _permuted(layers, at, exchanged)
        if permuted is None:
            name = plain_name("channels", {layer.name for layer in layers})
            kernel = np.eye(3, dtype=np.float32)[list(exchanged)].T[None, None]
            before.append(_pointwise(name, kernel, None, before[-1].name if before else IMAGES))
        else:
            layers = permuted
    names = {layer.name for layer in layers}
    if RESCALE in names:  # a layer of the network's own, which is none of those that were joined
        layers = _renamed(layers, {RESCALE: plain_name(f"{RESCALE}_inside", names)})
    return network.with_layers([*before, *_reading(layers, {at: before[-1].name if before else IMAGES})])


def _linear(layer: DescribedLayer) -> _Linear | None:
    """Return what a layer does to the channels of a photo; None where it does more than that."""
    if layer.config.get("activation", "linear") != "linear":
        return None
    weights = [np.asarray(one, np.float64) for one in layer.weights]
    found = None
    if layer.kind == "Rescaling":
        scale, offset = (np.asarray(layer.config.get(name, 0.0), np.float64) for name in ("scale", "offset"))
        found = _scaling(scale, offset)
    elif layer.kind == "BatchNormalization" and layer.config.get("axis", -1) in (-1, 3):
        found = _scaling(*_normalization(layer, weights))
    elif layer.kind in ("Conv2D", "DepthwiseConv2D") and weights[0].shape[:2] == (1, 1):
        found = _linear_of_kernel(layer, weights) if pair(layer.config.get("strides", 1)) == (1, 1) else None
    return found if found is not None and len(found.offset) in (1, 3) else None


def _linear_of_kernel(layer: DescribedLayer, weights: list[Doubles]) -> _Linear | None:
    kernel = weights[0][0, 0]
    offset = weights[1] if len(weights) > 1 else np.zeros(1)
    if layer.kind == "DepthwiseConv2D":
        return _scaling(kernel[:, 0], offset) if kernel.shape[1] == 1 else None
    # A convolution of the network's own is left alone. One that makes grey, or exchanges channels, is preparation.
    is_exchange = kernel.shape == (3, 3) and all((np.count_nonzero(kernel, axis=axis) == 1).all() for axis in (0, 1))
    if layer.config.get("groups", 1) == 1 and (is_exchange or kernel.shape == (3, 1)):
        return _Linear(kernel.T, np.broadcast_to(offset, kernel.shape[1]).astype(np.float64))
    return None


def _scaling(scale: Doubles, offset: Doubles) -> _Linear:
    """Return the map of each channel by itself. One number stands for all channels."""
    size = max(scale.size, offset.size)
    scale, offset = (np.broadcast_to(one.reshape(-1), size).astype(np.float64) for one in (scale, offset))
    return _Linear(np.diag(scale), offset)


def _input_layers(made: _Linear, names: set[str]) -> tuple[list[DescribedLayer], tuple[int, ...] | None]:
    """Return the layers that compute ``made``, and which channel comes at each place where they are exchanged afterwards."""
    matrix, offset = made.matrix, made.offset
    if matrix.shape[0] == 1:
        kernel, bias = matrix.T[None, None].astype(np.float32), offset.astype(np.float32)
        return [_pointwise(plain_name("grey", names), kernel, bias, IMAGES)], None
    order = [int(np.flatnonzero(row)[0]) for row in matrix]  # an invertible matrix with one number in each row
    scale, shift = np.empty(3), np.empty(3)
    for place, channel in enumerate(order):
        scale[channel], shift[channel] = matrix[place, channel], offset[place]
    exchanged = None if order == [0, 1, 2] else tuple(order)
    if np.allclose(scale, 1, rtol=0, atol=_ROUNDING) and np.allclose(shift, 0, rtol=0, atol=_ROUNDING):
        return [], exchanged
    weights = (scale.reshape(1, 1, 3, 1).astype(np.float32), shift.astype(np.float32))
    # tledge.backbones.flat makes the layer in the same way.
    return [DescribedLayer(RESCALE, "DepthwiseConv2D", {"kernel_size": 1}, (IMAGES,), weights)], exchanged


def _permuted(layers: list[DescribedLayer], at: str, order: Sequence[int]) -> list[DescribedLayer] | None:
    """Exchange the channels that kernels read from ``at``; None where another layer than a convolution reads them."""
    reading, found = {at}, set()
    for layer in layers:
        if not reading & set(layer.reads):
            continue
        if layer.kind == "ZeroPadding2D":
            reading.add(layer.name)
        elif layer.kind == "Conv2D" and layer.config.get("groups", 1) == 1:
            found.add(layer.name)
        else:
            return None
    place = np.argsort(order)  # where the kernel's slice for each channel of the photo was
    return [
        replace(layer, weights=(np.ascontiguousarray(layer.weights[0][:, :, place]), *layer.weights[1:]))
        if layer.name in found
        else layer
        for layer in layers
    ]


def _with_depthwise_scaling(network: DescribedNetwork) -> DescribedNetwork:
    """Let a DepthwiseConv2D compute what a Rescaling does to maps, because quantizers can't take Rescaling."""
    shapes = shapes_of(network)

    def rewritten(layer: DescribedLayer) -> DescribedLayer:
        shape = shapes[layer.name]
        if layer.kind != "Rescaling" or len(shape) != 3:
            return layer
        values = [np.asarray(layer.config.get(name, 0.0), np.float32) for name in ("scale", "offset")]
        scale, offset = (np.broadcast_to(one.reshape(-1), shape[-1]).astype(np.float32) for one in values)
        kernel = scale.reshape(1, 1, -1, 1)
        return DescribedLayer(layer.name, "DepthwiseConv2D", {"kernel_size": 1}, layer.reads, (kernel, offset))

    return network.with_layers(map(rewritten, network.layers))


def _with_joined_dense(network: DescribedNetwork) -> DescribedNetwork:
    """Join two dense layers between which there is nothing, and give the last one a bias."""
    layers = {layer.name: layer for layer in network.layers}
    readers = _readers(network.layers)
    for layer in network.layers:
        before = layers.get(layer.reads[0])
        if layer.kind == "Dense" and before and before.kind == "Dense" and readers[before.name] == 1:
            if before.config.get("activation", "linear") != "linear":
                continue
            first, second = (_dense(one) for one in (before, layer))
            kernel, bias = first[0] @ second[0], first[1] @ second[0] + second[1]
            layers[layer.name] = replace(
                layer,
                config={**layer.config, "use_bias": True},
                reads=before.reads,
                weights=(kernel.astype(np.float32), bias.astype(np.float32)),
            )
            del layers[before.name]
    last = list(layers.values())[-1]
    if last.kind == "Dense" and not last.config.get("use_bias", True):
        kernel, bias = _dense(last)
        weights = (kernel.astype(np.float32), bias.astype(np.float32))
        layers[last.name] = replace(last, config={**last.config, "use_bias": True}, weights=weights)
    return network.with_layers(layers.values())


def _dense(layer: DescribedLayer) -> tuple[Doubles, Doubles]:
    kernel = np.asarray(layer.weights[0], np.float64)
    bias = layer.weights[1] if layer.config.get("use_bias", True) else np.zeros(kernel.shape[1])
    return kernel, np.asarray(bias, np.float64)


def _with_names(network: DescribedNetwork) -> DescribedNetwork:
    """Name the last layer ``logits``."""
    last = network.layers[-1].name
    if last == LOGITS:
        return network
    other = plain_name(f"{LOGITS}_inside", {layer.name for layer in network.layers})
    return network.with_layers(_renamed(network.layers, {LOGITS: other, last: LOGITS}))


def _normalization(layer: DescribedLayer, weights: list[Doubles]) -> tuple[Doubles, Doubles]:
    """Return the scale and the offset of a batch normalization."""
    mean, variance = weights[-2:]
    scale = 1 / np.sqrt(variance + layer.config.get("epsilon", 1e-3))
    if layer.config.get("scale", True):
        scale = scale * weights[0]
    beta = weights[-3] if layer.config.get("center", True) else np.zeros_like(mean)
    return scale, beta - mean * scale


def _pointwise(name: str, kernel: Any, bias: Any, reads: str) -> DescribedLayer:
    """Return a convolution of 1 x 1."""
    config = {"filters": int(kernel.shape[-1]), "kernel_size": [1, 1], "use_bias": bias is not None}
    return DescribedLayer(name, "Conv2D", config, (reads,), (kernel,) if bias is None else (kernel, bias))


def _reading(layers: Iterable[DescribedLayer], stands_for: dict[str, str]) -> list[DescribedLayer]:
    """Let layers read others: the new name by the old one, which may itself have a new one."""

    def found(name: str) -> str:
        while name in stands_for and stands_for[name] != name:
            name = stands_for[name]
        return name

    return [replace(layer, reads=tuple(map(found, layer.reads))) for layer in layers]


def _renamed(layers: Iterable[DescribedLayer], names: dict[str, str]) -> list[DescribedLayer]:
    new: Callable[[str], str] = lambda name: names.get(name, name)  # noqa: E731 - names[name] where it is there
    return [replace(layer, name=new(layer.name), reads=tuple(map(new, layer.reads))) for layer in layers]


def _readers(layers: Sequence[DescribedLayer]) -> Counter[str]:
    """Count the layers that read each layer. The end of the network reads the last one."""
    return Counter([*(name for layer in layers for name in layer.reads), layers[-1].name])
