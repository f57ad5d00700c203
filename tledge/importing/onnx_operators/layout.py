"""Operators that move numbers or join them, and compute nothing."""

from __future__ import annotations

import math

import numpy as np

from tledge.importing.onnx_values import Layers, Node, Value, cheapest_order, common_order, plain


def same(node: Node, layers: Layers) -> Value:
    """Return what an operator reads, which it leaves as it is."""
    return node.value()


def dropout(node: Node, layers: Layers) -> Value:
    """Leave out Dropout, which does nothing when a network is not trained."""
    if np.any(np.asarray(node.constant(2) if len(node.reads) > 2 else False)):
        raise node.unknown("drops numbers out at inference, too")
    if node.num_outputs > 1 and node.readers:
        raise node.unknown("gives its mask, too")
    return node.value()


def cast(node: Node, layers: Layers) -> Value:
    """Leave out a Cast to float32, which is what every layer computes in."""
    import onnx

    if node.attributes["to"] != onnx.TensorProto.FLOAT:
        raise node.unknown(
            f"computes in {onnx.TensorProto.DataType.Name(node.attributes['to']).lower()}, not in float32"
        )
    return node.value()


def transpose(node: Node, layers: Layers) -> Value:
    """Note that axes changed their places."""
    value = node.value()
    rank = len(value.shape) + 1
    perm = list(node.attributes.get("perm", reversed(range(rank))))
    if perm[0] != 0:
        raise node.unknown("moves the axis of the photos")
    axes = [axis - 1 for axis in perm[1:]]
    value = layers.in_order(value, cheapest_order(value))
    # Axis j of the new shape is the old axis axes[j].
    order = [axes.index(axis) for axis in value.order]
    return plain(value.layer, [value.shape[axis] for axis in axes], order)


def flatten(node: Node, layers: Layers) -> Value:
    """Note that all axes from the second one on are one."""
    value = node.value()
    if int(node.attributes.get("axis", 1)) % (len(value.shape) + 1) != 1:
        raise node.unknown("joins the axis of the photos with others")
    return value.reshaped((math.prod(value.shape),))


def reshape(node: Node, layers: Layers) -> Value:
    """Note another shape. The photos stay the first axis."""
    value = node.value()
    target = node.constant(1)
    if target is None:
        raise node.unknown("has no shape")
    sizes = [int(size) for size in target.reshape(-1)]
    photos = node.photos
    old = (photos, *value.shape)
    if not node.attributes.get("allowzero"):
        sizes = [old[place] if size == 0 and place < len(old) else size for place, size in enumerate(sizes)]
    if -1 in sizes:
        known = math.prod(size for size in sizes if size != -1)
        sizes[sizes.index(-1)] = math.prod(old) // max(known, 1)
    if not sizes or math.prod(sizes) != math.prod(old):
        raise node.unknown(f"makes {list(old)} to {sizes}")
    if sizes[0] != photos:
        raise node.unknown("joins the axis of the photos with others")
    return value.reshaped(sizes[1:])


def squeeze(node: Node, layers: Layers) -> Value:
    """Note that axes of length 1 are gone."""
    value = node.value()
    rank = len(value.shape) + 1
    given = node.setting("axes", 1)
    if given is None:
        given = [axis for axis, size in enumerate(value.shape, 1) if size == 1]
    axes = {int(axis) % rank for axis in np.reshape(given, -1)}
    if 0 in axes or any(value.shape[axis - 1] != 1 for axis in axes):
        raise node.unknown("leaves out an axis that is no single number")
    return value.reshaped([size for axis, size in enumerate(value.shape, 1) if axis not in axes])


def unsqueeze(node: Node, layers: Layers) -> Value:
    """Note new axes of length 1."""
    value = node.value()
    given = np.reshape(node.setting("axes", 1), -1)
    rank = len(value.shape) + 1 + len(given)
    axes = {int(axis) % rank for axis in given}
    if 0 in axes:
        raise node.unknown("puts an axis before the photos")
    rest = iter(value.shape)
    return value.reshaped([1 if axis in axes else next(rest) for axis in range(1, rank)])


def concat(node: Node, layers: Layers) -> Value:
    """Describe Concat of tensors that depend on the photo."""
    values = [node.value(place) for place in range(len(node.reads))]
    first = values[0]
    axis = int(node.attributes["axis"]) % (len(first.shape) + 1) - 1
    if axis < 0:
        raise node.unknown("joins photos")
    order = common_order(values)
    held = [layers.in_order(value, order) for value in values]
    shape = [*first.shape]
    shape[axis] = sum(value.shape[axis] for value in values)
    if len(held) == 1:
        return held[0]
    made = layers.add(node.name, "Concatenate", [one.layer for one in held], axis=order.index(axis) + 1)
    return plain(made, shape, order)


def pad(node: Node, layers: Layers) -> Value:
    """Describe Pad with zeros around the rows and columns."""
    value = node.value()
    if len(value.shape) != 3:
        raise node.unknown(f"pads {len(value.shape) + 1} axes, where tledge reads 4")
    mode = node.attributes.get("mode", "constant")
    filled = node.setting("value", 2)
    if mode != "constant" or np.any(np.asarray(0 if filled is None else filled, np.float64)):
        raise node.unknown("pads with other numbers than zeros")
    pads = [int(one) for one in np.reshape(node.setting("pads", 1), -1)]
    given = node.constant(3) if len(node.reads) > 3 else None
    axes = [int(axis) % 4 for axis in (range(4) if given is None else given.reshape(-1))]
    before, after = [0] * 4, [0] * 4
    for place, axis in enumerate(axes):
        before[axis], after[axis] = pads[place], pads[place + len(axes)]
    if min(pads) < 0:
        raise node.unknown("cuts off rows or columns")
    # The axes that are padded are those of the ONNX graph. In the layer they lie in another order.
    if before[0] or after[0] or sum(1 for axis in (1, 2, 3) if before[axis] or after[axis]) > 2:
        raise node.unknown("pads photos or channels")
    spatial = [axis for axis in (1, 2, 3) if before[axis] or after[axis]]
    if not spatial:
        return value
    last = next(axis for axis in (1, 3, 2) if axis not in spatial)
    order = (*(axis - 1 for axis in (1, 2, 3) if axis != last), last - 1)
    value = layers.in_order(value, order)
    sides = [[before[axis + 1], after[axis + 1]] for axis in order[:2]]
    made = layers.add(node.name, "ZeroPadding2D", value.layer, padding=sides)
    shape = [size + before[axis] + after[axis] for axis, size in enumerate(value.shape, 1)]
    return plain(made, shape, order)


OPERATORS = {
    "Identity": same,
    "Dropout": dropout,
    "Cast": cast,
    "Transpose": transpose,
    "Flatten": flatten,
    "Reshape": reshape,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Concat": concat,
    "Pad": pad,
}
