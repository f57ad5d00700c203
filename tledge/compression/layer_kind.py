"""What a kind of layer is to integer arithmetic, as its file declares it."""

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
    """How a kind of layer multiplies by its weights. In a folded network its variables are its kernel and its bias.

    ``name``: of the kernel among the layer's attributes. ``patches(layer, values, num_groups, step)`` returns what the
    outputs multiply their weights with: of maps or vectors ``values``, at every ``step``-th position in each direction,
    float32 (positions, groups, inputs of a group). ``num_output_axes``: how many of the kernel's last axes tell its
    outputs apart; an output adds up the axes before them. ``sums_channels``: whether an output adds up several channels.
    Such layers hold nearly all weights, so they are the ones that are pruned and clustered. ``num_groups(layer)``: into
    how many parts the outputs are divided that read different channels.
    """

    name: str
    patches: Callable[[Any, Any, int, int], Floats]
    num_output_axes: int = 1
    sums_channels: bool = True
    num_groups: Callable[[Any], int] = _one

    def num_inputs(self, shape: Sequence[int]) -> int:
        """Returns how many weights an output of a kernel of this shape has."""
        return int(np.prod(shape[: -self.num_output_axes]))

    def summed_axes(self, rank: int) -> tuple[int, ...]:
        """Returns the axes of a kernel that an output adds up."""
        return tuple(range(rank - self.num_output_axes))

    def by_group(self, kernel: npt.NDArray[Any], num_groups: int) -> npt.NDArray[Any]:
        """Returns the kernel as (groups, inputs of a group, outputs of a group)."""
        rows = kernel.reshape(self.num_inputs(kernel.shape), num_groups, -1)
        return np.ascontiguousarray(np.moveaxis(rows, 1, 0))

    def from_groups(self, weights: npt.NDArray[Any], shape: Sequence[int]) -> npt.NDArray[Any]:
        """Returns the kernel, of this shape, of which :meth:`by_group` returned ``weights``."""
        return np.moveaxis(weights, 0, 1).reshape(shape)


@dataclass(frozen=True)
class Normalization:
    """What a layer does to each channel on its own: (x - mean) * factor + offset. All three are float64 (channels,)."""

    mean: Doubles
    factor: Doubles
    offset: Doubles


@dataclass(frozen=True)
class LayerKind:
    """What a kind of layer is to integer arithmetic.

    ``name``: the name of its file. ``classes``: the names of the Keras classes that have this kind where ``claims`` returns
    True of the layer. ``tflite`` and ``onnx``: the operators of one such layer in an all-integer file, besides changes of
    layout and QDQ pairs. A kind that has none stands in no folded network by itself.

    ``kernel``: None for a layer without weights. ``part_of``: the kinds whose operator computes this one as well, where it
    alone reads them; the output of the other layer has no quantized values then. ``keeps_values``: whether quantized values
    pass through unchanged, with their scale and zero point. ``is_idle``: whether it does nothing outside training.
    ``normalization(layer)`` returns what it does to each channel, for a layer that becomes part of the weights before it.

    ``copied(layer, inputs)`` returns what stands for the layer in a folded network: its output, of the tensors that it reads,
    and the weights of the new layers by their names.
    """

    name: str
    classes: tuple[str, ...]
    tflite: tuple[str, ...] = ()
    onnx: tuple[str, ...] = ()
    claims: Callable[[Any], bool] = _always
    kernel: Kernel | None = None
    part_of: tuple[str, ...] = ()
    keeps_values: bool = False
    is_idle: bool = False
    normalization: Callable[[Any], Normalization] | None = None
    copied: Callable[[Any, list[Any]], tuple[Any, Mapping[str, list[Floats]]]] = as_it_is
