"""This module rounds weights to quantized values, which are whole numbers times a scale of the output channel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.compression.layer_roles import has_pairs, kernel_of, summing
from tledge.int8_pairs import rounded, scales

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]
LARGEST_CODE = 127  # the largest quantized weight; -128 is not used, so that zero is in the middle
SMALLEST = 1e-9  # a channel of zeros is given a scale as if this were its largest weight
_WORTH_WHILE = 2048  # a layer with fewer weights saves nothing that can be seen


@dataclass(frozen=True)
class Codebook:
    """A codebook lists the quantized values that a layer's weights may have.

    ``values``, int64 (K,), ascend and include zero and the two largest, plus and minus ``LARGEST_CODE``. ``edges``,
    float64 (K - 1,), say at which quotient of weight and scale the next value begins.
    """

    values: npt.NDArray[np.int64]
    edges: npt.NDArray[np.float64]

    def nearest(self, codes: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Return the allowed value for each quotient of weight and scale, of any shape."""
        return self.values[np.searchsorted(self.edges, codes, side="right")]


@dataclass(frozen=True)
class Grid:
    """A grid says which values a layer's weights may have: whole numbers times a scale of their output channel.

    The largest weight has the quantized value ``LARGEST_CODE``, of either sign, because a file derives the scale from
    it.

    ``book`` lists the only allowed quantized values; None allows all whole numbers. ``scale_bits`` is the number of
    significant bits of a scale; None keeps those of float32. ``bounds_pairs`` makes every pair of weights fit into 16
    bits (see ``int8_pairs``), and needs all whole numbers. Where a pair decides the scale, its quantized values
    together reach ``LARGEST_SUM``, and no weight need have ``LARGEST_CODE``.
    """

    book: Codebook | None = None
    scale_bits: int | None = None
    bounds_pairs: bool = False

    @property
    def is_fine(self) -> bool:
        """Return whether the grid allows all whole numbers and all scales."""
        return self.book is None and self.scale_bits is None

    def scale_of(self, layer: Any, kernel: npt.NDArray[Any]) -> Doubles:
        """Return the scale of each output channel, float64.

        Its shape is the kernel's, with 1 along the axes that a channel adds up.
        """
        scale = np.maximum(_largest(layer, kernel), SMALLEST).astype(np.float64) / LARGEST_CODE
        if self._bounds(layer):
            of_pairs = scales(kernel.reshape(-1, scale.size), LARGEST_CODE)
            scale = np.maximum(scale, of_pairs.reshape(scale.shape))
        return scale if self.scale_bits is None else in_few_bits(scale, self.scale_bits)

    def codes_of(self, layer: Any, kernel: npt.NDArray[Any]) -> Doubles:
        """Divide the kernel by its scales without rounding, float64 of the same shape."""
        return np.asarray(kernel / self.scale_of(layer, kernel))

    def on_codes(self, layer: Any, kernel: npt.NDArray[Any]) -> Floats:
        """Round the kernel to the nearest allowed values, float32 of the same shape."""
        scale, codes = self.scale_of(layer, kernel), self.codes_of(layer, kernel)
        if self._bounds(layer):
            codes = rounded(codes.reshape(-1, scale.size)).reshape(kernel.shape)
        else:
            is_largest = np.abs(kernel) == np.maximum(_largest(layer, kernel), SMALLEST)
            codes = np.where(is_largest, np.sign(kernel) * LARGEST_CODE, self.nearest(codes))
        return np.asarray(codes * scale, np.float32)

    def nearest(self, codes: npt.NDArray[Any]) -> Doubles:
        """Return the nearest allowed quantized value for each quotient of weight and scale, float64 of any shape."""
        within = np.clip(codes, -LARGEST_CODE, LARGEST_CODE)
        return np.asarray(np.round(within) if self.book is None else self.book.nearest(within), np.float64)

    def _bounds(self, layer: Any) -> bool:
        return self.bounds_pairs and has_pairs(layer)


NO_GRIDS: Mapping[str, Grid] = {}


def large(network: Any) -> list[Any]:
    """Return the layers that decide the size of a compressed file: convolutions and dense layers with many weights."""
    return [layer for layer in summing(network) if layer.get_weights()[0].size >= _WORTH_WHILE]


def uniform(count: int) -> Codebook:
    """Return a codebook of ``count`` values, an odd number, as evenly spaced as whole numbers allow."""
    values = np.round(np.linspace(-LARGEST_CODE, LARGEST_CODE, count)).astype(np.int64)
    return Codebook(values, (values[1:] + values[:-1]) / 2)


def in_few_bits(values: npt.ArrayLike, bits: int, rounding: Callable[[Doubles], Doubles] = np.round) -> Doubles:
    """Round positive numbers to ``bits`` significant bits, float64 of the same shape."""
    mantissas, exponents = np.frexp(np.asarray(values, np.float64))
    return np.asarray(np.ldexp(rounding(np.ldexp(mantissas, bits)), exponents - bits))


def _largest(layer: Any, kernel: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the absolute value of the largest weight of each output channel."""
    return np.asarray(np.abs(kernel).max(axis=kernel_of(layer).summed_axes(kernel.ndim), keepdims=True))
