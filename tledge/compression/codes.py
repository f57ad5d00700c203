"""Weights as codes: whole numbers times a scale of the output channel."""

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
LARGEST_CODE = 127  # of a weight; -128 is not used, so that zero is in the middle
SMALLEST = 1e-9  # the largest weight that a channel of nothing but zeros is taken to have: it has a scale too
_WORTH_WHILE = 2048  # weights of a layer: the codes of a smaller one save nothing that can be seen


@dataclass(frozen=True)
class Codebook:
    """The codes that a layer's weights may have: ``values``, int64 (K,), ascending, the two largest and zero among them.

    ``edges``: float64 (K - 1,), between which weight, in codes, the next value begins.
    """

    values: npt.NDArray[np.int64]
    edges: npt.NDArray[np.float64]

    def nearest(self, codes: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """What weights, in codes of any shape, become."""
        return self.values[np.searchsorted(self.edges, codes, side="right")]


@dataclass(frozen=True)
class Grid:
    """What the weights of a layer may be: whole numbers times a scale of their output channel.

    Its largest weight has the code ``LARGEST_CODE``, of either sign, for a file derives the scale from it. ``book``: the
    only codes that there are; None for all whole numbers. ``scale_bits``: significant ones of a scale; None for as many as
    float32 has. ``bounds_pairs``: whether every pair of weights fits into 16 bits (see ``int8_pairs``), for which all codes are
    there. Where a pair is what decides, its codes reach ``LARGEST_SUM`` together, and no code need be ``LARGEST_CODE``.
    """

    book: Codebook | None = None
    scale_bits: int | None = None
    bounds_pairs: bool = False

    @property
    def is_fine(self) -> bool:
        """Whether it has all codes, and scales as they come."""
        return self.book is None and self.scale_bits is None

    def scale_of(self, layer: Any, kernel: npt.NDArray[Any]) -> Doubles:
        """What one code of each output channel is worth, float64, of the kernel's shape but 1 along what a channel adds up."""
        scale = np.maximum(_largest(layer, kernel), SMALLEST).astype(np.float64) / LARGEST_CODE
        if self._bounds(layer):
            of_pairs = scales(kernel.reshape(-1, scale.size), LARGEST_CODE)
            scale = np.maximum(scale, of_pairs.reshape(scale.shape))
        return scale if self.scale_bits is None else in_few_bits(scale, self.scale_bits)

    def codes_of(self, layer: Any, kernel: npt.NDArray[Any]) -> Doubles:
        """The kernel in codes, not yet whole, float64 of its shape."""
        return np.asarray(kernel / self.scale_of(layer, kernel))

    def on_codes(self, layer: Any, kernel: npt.NDArray[Any]) -> Floats:
        """The kernel as the nearest codes that there are, float32 of the same shape."""
        scale, codes = self.scale_of(layer, kernel), self.codes_of(layer, kernel)
        if self._bounds(layer):
            codes = rounded(codes.reshape(-1, scale.size)).reshape(kernel.shape)
        else:
            is_largest = np.abs(kernel) == np.maximum(_largest(layer, kernel), SMALLEST)
            codes = np.where(is_largest, np.sign(kernel) * LARGEST_CODE, self.nearest(codes))
        return np.asarray(codes * scale, np.float32)

    def nearest(self, codes: npt.NDArray[Any]) -> Doubles:
        """The code that there is for each of these, which need not be whole, float64 of any shape."""
        within = np.clip(codes, -LARGEST_CODE, LARGEST_CODE)
        return np.asarray(np.round(within) if self.book is None else self.book.nearest(within), np.float64)

    def _bounds(self, layer: Any) -> bool:
        return self.bounds_pairs and has_pairs(layer)


NO_GRIDS: Mapping[str, Grid] = {}


def large(network: Any) -> list[Any]:
    """The layers whose codes make up what a compressed file takes: convolutions and dense layers with many weights."""
    return [layer for layer in summing(network) if layer.get_weights()[0].size >= _WORTH_WHILE]


def uniform(count: int) -> Codebook:
    """``count`` codes, an odd number, each as far from the next as whole numbers allow."""
    values = np.round(np.linspace(-LARGEST_CODE, LARGEST_CODE, count)).astype(np.int64)
    return Codebook(values, (values[1:] + values[:-1]) / 2)


def in_few_bits(values: npt.ArrayLike, bits: int, rounding: Callable[[Doubles], Doubles] = np.round) -> Doubles:
    """Positive numbers with so many significant bits, float64 of the same shape."""
    mantissas, exponents = np.frexp(np.asarray(values, np.float64))
    return np.asarray(np.ldexp(rounding(np.ldexp(mantissas, bits)), exponents - bits))


def _largest(layer: Any, kernel: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The size of the largest weight of each output channel."""
    return np.asarray(np.abs(kernel).max(axis=kernel_of(layer).summed_axes(kernel.ndim), keepdims=True))
