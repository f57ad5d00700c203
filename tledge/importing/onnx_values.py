"""ONNX describes tensors with the channels first, and Keras holds maps with the channels last: this module keeps the books.

Transpose, Reshape, Flatten and Squeeze cost nothing here. They change what is known of a tensor, and a layer is made only where
an operator needs the numbers in another order than the one in which they lie.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.backbones.described import DescribedLayer, Floats, plain_name
from tledge.importing.foreign import LayersUnknown

Array = npt.NDArray[Any]
NHWC = (1, 2, 0)  # the order in which a map of ONNX's axes (C, H, W) lies in Keras
MOST_LAYERS = 10_000


@dataclass(frozen=True)
class Value:
    """A ``Value`` is a tensor of the ONNX graph that depends on the photo. No shape here counts the batch.

    Args:
        layer: The described layer that holds its numbers.
        shape: Its shape in the ONNX graph.
        axes: A shape of the same numbers in the same order, of whose axes the layer's are a permutation.
        order: Axis i of what the layer gives is axis ``order[i]`` of ``axes``.
    """

    layer: str
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    order: tuple[int, ...]

    @property
    def held(self) -> tuple[int, ...]:
        """Return the shape of what the layer gives."""
        return tuple(self.axes[axis] for axis in self.order)

    def reshaped(self, shape: Sequence[int]) -> Value:
        """Return the same numbers in another shape of the ONNX graph."""
        return Value(self.layer, tuple(shape), self.axes, self.order)

    def of(self, layer: str) -> Value:
        """Return a value whose numbers lie alike in another layer."""
        return Value(layer, self.shape, self.axes, self.order)


def plain(layer: str, shape: Sequence[int], order: Sequence[int] | None = None) -> Value:
    """Return a value of a layer, whose axes are those of the ONNX graph in an order."""
    return Value(layer, tuple(shape), tuple(shape), tuple(range(len(shape)) if order is None else order))


def feature_map(layer: str, held: Sequence[int]) -> Value:
    """Return the value of ONNX's axes (C, H, W) of a layer that gives (H, W, C)."""
    height, width, channels = held
    return plain(layer, (channels, height, width), NHWC)


def cheapest_order(value: Value) -> tuple[int, ...]:
    """Return the order of a value's axes that costs nothing where its shape splits or joins axes of its layer."""
    if value.axes == value.shape:
        return value.order
    ends: list[int] = []  # for each axis of the shape, the place in the layer of the axis that it is part of
    place, product = 0, 1
    for size in value.shape:
        ends.append(value.order.index(min(place, len(value.axes) - 1)))
        product *= size
        while place < len(value.axes) and product >= value.axes[place] and product % value.axes[place] == 0:
            product //= value.axes[place]
            place += 1
    return tuple(sorted(range(len(value.shape)), key=lambda axis: (ends[axis], axis)))


def common_order(values: Sequence[Value]) -> tuple[int, ...]:
    """Return the order that tensors of as many axes are brought into for an operator that needs them alike."""
    largest = max(math.prod(value.shape) for value in values)
    for value in values:
        if value.axes == value.shape and math.prod(value.shape) == largest:
            return value.order
    rank = len(values[0].shape)
    return NHWC if rank == 3 else tuple(range(rank))


@dataclass(frozen=True)
class Node:
    """A ``Node`` is an operator of the graph with what it reads: values, constants, or None for what was left out.

    Args:
        name: Its name in the file.
        operator: The name of its operator, such as ``Conv``.
        reads: What it reads, in the operator's order.
        attributes: Its attributes as plain values.
        opset: The version of ONNX's operators.
        readers: The operators that read its first output.
        is_only_reader: No other operator reads its first tensor that depends on the photo.
        num_outputs: How many of its outputs are named.
        photos: How many photos the graph is read for, the length of its first axis.
    """

    name: str
    operator: str
    reads: tuple[Value | Array | None, ...]
    attributes: dict[str, Any]
    opset: int
    readers: tuple[str, ...] = ()
    is_only_reader: bool = False
    num_outputs: int = 1
    photos: int = 1

    def unknown(self, why: str) -> LayersUnknown:
        """Return the error that this operator has no layer here."""
        return LayersUnknown(f"the operator {self.operator} {self.name!r} {why}")

    def value(self, place: int = 0) -> Value:
        """Return what it reads at a place, which must depend on the photo."""
        found = self.reads[place] if place < len(self.reads) else None
        if not isinstance(found, Value):
            raise self.unknown(
                f"reads a constant as its input {place + 1}, where tledge reads what depends on the photo"
            )
        return found

    def constant(self, place: int) -> Array | None:
        """Return the constant at a place; None where it was left out."""
        found = self.reads[place] if place < len(self.reads) else None
        if isinstance(found, Value):
            raise self.unknown(f"computes its input {place + 1} from the photo, where tledge reads a constant")
        return found

    def weights(self, place: int) -> Floats:
        """Return the constant at a place as float32."""
        found = self.constant(place)
        if found is None:
            raise self.unknown(f"lacks its input {place + 1}")
        return np.asarray(found, np.float32)

    def setting(self, name: str, place: int) -> Any:
        """Return a setting that older opsets keep as an attribute and newer ones as an input; None where it is left out."""
        if name in self.attributes:
            return self.attributes[name]
        found = self.constant(place)
        return None if found is None else found.tolist()


@dataclass
class Layers:
    """The ``Layers`` are the described layers that were made so far."""

    made: list[DescribedLayer] = field(default_factory=list)
    _names: set[str] = field(default_factory=set)
    _views: dict[tuple[str, str, str], str] = field(default_factory=dict)
    _by_name: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, kind: str, reads: Sequence[str] | str, weights: Sequence[Any] = (), **config: Any) -> str:
        """Make a layer, and return its name, which is like ``name``."""
        if len(self.made) >= MOST_LAYERS:
            raise LayersUnknown(f"the graph has over {MOST_LAYERS:,} layers")
        chosen = plain_name(name, self._names)
        self._names.add(chosen)
        self._by_name[chosen] = len(self.made)
        held = tuple(np.ascontiguousarray(one, np.float32) for one in weights)
        self.made.append(
            DescribedLayer(chosen, kind, config, (reads,) if isinstance(reads, str) else tuple(reads), held)
        )
        return chosen

    def layer(self, name: str) -> DescribedLayer | None:
        """Return a layer by its name; None for the network's input."""
        return self.made[self._by_name[name]] if name in self._by_name else None

    def replace(self, layer: DescribedLayer) -> None:
        """Put a layer in the place of the one of its name."""
        self.made[self._by_name[layer.name]] = layer

    def in_order(self, value: Value, order: Sequence[int]) -> Value:
        """Return the same tensor as a layer whose axis i is axis ``order[i]`` of the tensor's shape in the ONNX graph."""
        order = tuple(order)
        if value.axes == value.shape and value.order == order:
            return value
        merged = _groups(value.axes, value.shape)
        if merged is None:
            split = _groups(value.shape, value.axes)
            if split is None:  # neither shape is a finer one of the other: the numbers are brought into ONNX's order
                flat = self._permuted(value, range(len(value.axes)))
                return self.in_order(plain(self._shaped(flat.layer, value.shape), value.shape), order)
            finer = [axis for coarse in value.order for axis in split[coarse]]
            layer = self._shaped(value.layer, [value.shape[axis] for axis in finer])
            return self.in_order(plain(layer, value.shape, finer), order)
        permuted = self._permuted(value, [axis for one in order for axis in merged[one]])
        wanted = tuple(value.shape[axis] for axis in order)
        layer = permuted.layer if permuted.held == wanted else self._shaped(permuted.layer, wanted)
        return plain(layer, value.shape, order)

    def as_map(self, value: Value, node: Node) -> Value:
        """Return a tensor of ONNX's axes (N, C, H, W) as a layer that gives (N, H, W, C)."""
        if len(value.shape) != 3:
            raise node.unknown(
                f"reads {len(value.shape) + 1} axes, where tledge reads 4: photos, channels, rows and columns"
            )
        return self.in_order(value, NHWC)

    def flat(self, value: Value, node: Node) -> tuple[str, npt.NDArray[np.int64]]:
        """Return a layer that gives a vector, and which number of ONNX's vector each of its numbers is."""
        if len(value.shape) != 1:
            raise node.unknown(f"reads {len(value.shape) + 1} axes, where tledge reads 2")
        layer = value.layer if len(value.axes) == 1 else self._shaped(value.layer, value.shape)
        return layer, np.arange(value.shape[0]).reshape(value.axes).transpose(value.order).reshape(-1)

    def _permuted(self, value: Value, order: Sequence[int]) -> Value:
        order = tuple(order)
        if [axis for axis in order if value.axes[axis] > 1] == [axis for axis in value.order if value.axes[axis] > 1]:
            # No number moves; at most axes of length 1 do, which a Reshape does that the caller may need anyway.
            return value
        dims = [value.order.index(axis) + 1 for axis in order]
        return Value(self._view("Permute", value.layer, dims=dims), value.shape, value.axes, order)

    def _shaped(self, layer: str, shape: Sequence[int]) -> str:
        if len(shape) == 1:
            return self._view("Flatten", layer)
        return self._view("Reshape", layer, target_shape=list(shape))

    def _view(self, kind: str, layer: str, **config: Any) -> str:
        key = (kind, layer, str(config))
        if key not in self._views:
            self._views[key] = self.add(f"{layer}_{kind.lower()}", kind, layer, **config)
        return self._views[key]


def _groups(fine: Sequence[int], coarse: Sequence[int]) -> list[list[int]] | None:
    """Return for each axis of a coarse shape the axes of a fine one that it joins; None where it joins no whole ones."""
    groups: list[list[int]] = []
    at = 0
    for size in coarse:
        group: list[int] = []
        product = 1
        while at < len(fine) and product * fine[at] <= size and (product < size or (size == 1 and not group)):
            product *= fine[at]
            group.append(at)
            at += 1
        if product != size:
            return None
        groups.append(group)
    rest = list(range(at, len(fine)))
    if math.prod(fine[axis] for axis in rest) != 1:
        return None
    if rest and not groups:
        return None
    if rest:
        groups[-1] += rest
    return groups
