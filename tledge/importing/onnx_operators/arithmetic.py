"""Constants that are added and multiplied become a scale and an offset, and two tensors are joined by a layer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from tledge.backbones.described import IMAGES
from tledge.importing.onnx_values import Array, Layers, Node, Value, cheapest_order, common_order, plain

_UNIT = 1e-3  # the epsilon of a normalization whose variance is 1 - epsilon: it only multiplies and adds
_TAKE_A_BIAS = {"Conv2D", "DepthwiseConv2D", "Dense"}
Numbers = npt.NDArray[np.float64]


def add(node: Node, layers: Layers) -> Value:
    """Describe Add of two tensors or of a constant."""
    if _constant_place(node) is None:
        return _both(node, layers, "Add")
    return _affine(node, layers, np.float64(1), _constant(node))


def sub(node: Node, layers: Layers) -> Value:
    """Describe Sub of two tensors, or of a tensor and a constant either way."""
    place = _constant_place(node)
    if place is None:
        return _both(node, layers, "Subtract")
    if place == 0:
        return _affine(node, layers, np.float64(-1), _constant(node))
    return _affine(node, layers, np.float64(1), -_constant(node))


def mul(node: Node, layers: Layers) -> Value:
    """Describe Mul of two tensors or by a constant."""
    if _constant_place(node) is None:
        return _both(node, layers, "Multiply")
    return _affine(node, layers, _constant(node), np.float64(0))


def div(node: Node, layers: Layers) -> Value:
    """Describe Div by a constant."""
    if _constant_place(node) != 1:
        raise node.unknown("divides by what depends on the photo")
    divisor = _constant(node)
    if not np.all(divisor):
        raise node.unknown("divides by 0")
    return _affine(node, layers, 1 / divisor, np.float64(0))


def _constant_place(node: Node) -> int | None:
    places = [place for place, one in enumerate(node.reads) if not isinstance(one, Value)]
    return places[0] if places else None


def _constant(node: Node) -> Numbers:
    place = _constant_place(node)
    assert place is not None
    return np.asarray(node.weights(place), np.float64)


def _affine(node: Node, layers: Layers, scale: Array | np.float64, offset: Array | np.float64) -> Value:
    """Multiply and add constants, which have one number or one for each index of one axis."""
    (value,) = [one for one in node.reads if isinstance(one, Value)]
    scale, offset, axis = _along_one_axis(node, value, scale, offset)
    if axis is None:
        if offset and scale == 1 and (made := _into_bias(node, layers, value, offset)) is not None:
            return made
        return value.of(layers.add(node.name, "Rescaling", value.layer, scale=float(scale), offset=float(offset)))
    # The other axes stay in their order: a layer that swapped height and width would fit no integers.
    others = [one for one in cheapest_order(value) if one != axis]
    held = layers.in_order(value, (*others, axis))
    if np.all(scale == 1) and (made := _into_bias(node, layers, held, offset)) is not None:
        return made
    return held.of(affine(node.name, layers, held.layer, scale, offset, value.shape[axis]))


def affine(name: str, layers: Layers, layer: str, scale: Array, offset: Array, channels: int) -> str:
    """Make the layer that multiplies and adds numbers for each channel, which is the last axis."""
    scale, offset = np.broadcast_to(scale, channels), np.broadcast_to(offset, channels)
    if _is_of_input(layers, layer):
        config = {"scale": [float(one) for one in scale], "offset": [float(one) for one in offset]}
        return layers.add(name, "Rescaling", layer, **config)
    variance = np.full(channels, 1 - _UNIT)
    return layers.add(
        name, "BatchNormalization", layer, (scale, offset, np.zeros(channels), variance), axis=-1, epsilon=_UNIT
    )


def _is_of_input(layers: Layers, name: str) -> bool:
    while name != IMAGES:
        layer = layers.layer(name)
        if layer is None or layer.kind not in ("Rescaling", "Permute"):
            return False
        (name,) = layer.reads
    return True


def _along_one_axis(
    node: Node, value: Value, scale: Array | np.float64, offset: Array | np.float64
) -> tuple[Numbers, Numbers, int | None]:
    """Return a scale and an offset as vectors along an axis; as single numbers, with None, where all are alike."""
    shape = (1, *value.shape)
    given = (np.asarray(scale, np.float64), np.asarray(offset, np.float64))
    both = [one.reshape((1,) * max(len(shape) - one.ndim, 0) + one.shape) for one in given]
    axes = set()
    for one in both:
        if one.ndim > len(shape) or any(size not in (1, whole) for size, whole in zip(one.shape, shape, strict=True)):
            raise node.unknown(f"makes {list(shape)} larger by a constant of {list(one.shape)}")
        if one.size and np.any(one != one.flat[0]):
            axes |= {axis for axis, size in enumerate(one.shape) if size > 1}
    if len(axes) > 1:
        raise node.unknown("has a constant that differs along several axes")
    if not axes:
        return both[0].reshape(-1)[0], both[1].reshape(-1)[0], None
    (axis,) = axes
    vectors = [one.reshape(-1) if one.shape[axis] > 1 else one.reshape(-1)[:1] for one in both]
    return vectors[0], vectors[1], axis - 1


def _into_bias(node: Node, layers: Layers, value: Value, offset: Numbers) -> Value | None:
    """Add numbers to the bias of the layer before, whose output nothing else reads; None where there is no such layer."""
    layer = layers.layer(value.layer)
    if layer is None or not node.is_only_reader or layer.kind not in _TAKE_A_BIAS or value.axes != value.shape:
        return None
    if layer.config["use_bias"]:
        return None
    bias = np.broadcast_to(np.asarray(offset, np.float32), value.held[-1:])
    config = {**layer.config, "use_bias": True}
    layers.replace(replace(layer, config=config, weights=(*layer.weights, np.ascontiguousarray(bias))))
    return value


def _both(node: Node, layers: Layers, kind: str) -> Value:
    left, right = node.value(0), node.value(1)
    if len(node.reads) != 2 or len(left.shape) != len(right.shape):
        raise node.unknown(f"reads tensors of {len(left.shape) + 1} and {len(right.shape) + 1} axes")
    if any(1 not in (one, other) and one != other for one, other in zip(left.shape, right.shape, strict=True)):
        raise node.unknown(f"reads tensors of {left.shape} and {right.shape} numbers a photo")
    if left.shape != right.shape or (left.axes, left.order) != (right.axes, right.order):
        order = common_order((left, right))
        left, right = layers.in_order(left, order), layers.in_order(right, order)
    made = layers.add(node.name, kind, (left.layer, right.layer))
    if left.shape == right.shape:
        return left.of(made)
    return plain(made, np.maximum(left.shape, right.shape).tolist(), left.order)


OPERATORS = {"Add": add, "Sub": sub, "Mul": mul, "Div": div}
