"""This module defines what a kind of layer declares about its integer arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.compression.copies import as_it_is

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]


def _always(layer: Any) -> bool:
    return True


def _one(layer: Any) -> int:
    return 1


@dataclass(frozen=True)
class Kernel:
    """A kernel says how a kind of layer multiplies by its weights.

    In a folded network the layer's variables are its kernel and its bias.

    Attributes:
        name: the name of the kernel among the layer's attributes.
        patches: ``patches(layer, values, num_groups, step)`` returns the values that the outputs multiply by their
            weights. ``values`` are maps or vectors, read for every ``step``-th position in each direction. The result
            is float32 (positions, groups, inputs of a group).
        num_output_axes: how many of the kernel's last axes tell its outputs apart. An output adds up the axes before
            them.
        sums_channels: whether an output adds up several channels. Such layers hold nearly all weights, so they are
            the ones that are pruned and clustered.
        num_groups: ``num_groups(layer)`` returns the number of groups of outputs that read different channels.
    """

    name: str
    patches: Callable[[Any, Any, int, int], Floats]
    num_output_axes: int = 1
    sums_channels: bool = True
    num_groups: Callable[[Any], int] = _one

    def num_inputs(self, shape: Sequence[int]) -> int:
        """Return how many weights each output has in a kernel of this shape."""
        return int(np.prod(shape[: -self.num_output_axes]))

    def summed_axes(self, rank: int) -> tuple[int, ...]:
        """Return the axes that an output adds up in a kernel with ``rank`` axes."""
        return tuple(range(rank - self.num_output_axes))

    def by_group(self, kernel: npt.NDArray[Any], num_groups: int) -> npt.NDArray[Any]:
        """Reshape a kernel to (groups, inputs of a group, outputs of a group)."""
        rows = kernel.reshape(self.num_inputs(kernel.shape), num_groups, -1)
        return np.ascontiguousarray(np.moveaxis(rows, 1, 0))

    def from_groups(self, weights: npt.NDArray[Any], shape: Sequence[int]) -> npt.NDArray[Any]:
        """Undo :meth:`by_group`: reshape ``weights`` to a kernel of this shape."""
        return np.moveaxis(weights, 0, 1).reshape(shape)


@dataclass(frozen=True)
class Normalization:
    """A normalization computes (x - mean) * factor + offset for each channel; all three are float64 (channels,)."""

    mean: Doubles
    factor: Doubles
    offset: Doubles


@dataclass(frozen=True)
class LayerKind:
    """A layer kind says what a kind of layer is to integer arithmetic.

    Attributes:
        name: the name of its file.
        classes: the names of the Keras classes that have this kind if ``claims`` returns True for the layer.
        tflite: the operators of one such layer in an all-integer TFLite file, besides changes of layout. A kind that
            has none is never a layer by itself in a folded network.
        onnx: the operators of one such layer in an all-integer ONNX file, besides changes of layout and QDQ pairs.
        claims: ``claims(layer)`` returns whether a layer of these classes has this kind.
        kernel: how it multiplies by its weights, None for a layer without weights.
        part_of: the kinds whose operator also computes this one, if this layer alone reads them. The output of the
            other layer is not quantized then.
        keeps_values: whether quantized values pass through unchanged, with their scale and zero point.
        merges_into: the kinds whose operator may also compute this one, if only such layers read it. A converter
            decides, because it depends on the sizes. A file then has no tensor with this layer's output. So the kind
            also has to keep quantized values.
        is_idle: whether it does nothing outside training.
        normalization: ``normalization(layer)`` returns what the layer does to each channel, for a layer that is
            folded into the weights before it.
        copied: ``copied(layer, inputs)`` makes the layer's copy in a folded network. It returns the copy's output for
            the tensors ``inputs``, and the weights of the new layers by their names.
    """

    name: str
    classes: tuple[str, ...]
    tflite: tuple[str, ...] = ()
    onnx: tuple[str, ...] = ()
    claims: Callable[[Any], bool] = _always
    kernel: Kernel | None = None
    part_of: tuple[str, ...] = ()
    keeps_values: bool = False
    merges_into: tuple[str, ...] = ()
    is_idle: bool = False
    normalization: Callable[[Any], Normalization] | None = None
    copied: Callable[[Any, list[Any]], tuple[Any, Mapping[str, list[Floats]]]] = as_it_is
