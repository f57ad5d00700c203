"""Weights as codes: whole numbers times a scale of the output channel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.compression import LARGEST_CODE
from tledge.compression.folding import is_depthwise, summing

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]
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


NO_CODEBOOKS: Mapping[str, Codebook] = {}


def large(network: Any) -> list[Any]:
    """The layers whose codes make up what a compressed file takes: convolutions and dense layers with many weights."""
    return [layer for layer in summing(network) if layer.get_weights()[0].size >= _WORTH_WHILE]


def uniform(count: int, largest_code: int = LARGEST_CODE) -> Codebook:
    """``count`` codes, an odd number, each as far from the next as whole numbers allow."""
    values = np.round(np.linspace(-largest_code, largest_code, count)).astype(np.int64)
    return Codebook(values, (values[1:] + values[:-1]) / 2)


def codes_of(layer: Any, kernel: npt.NDArray[Any], largest_code: int = LARGEST_CODE) -> Doubles:
    """The kernel in codes, not yet whole, float64 of its shape: of the scale that gives a channel's largest weight that code."""
    return np.asarray(kernel / scale_of(layer, kernel, largest_code))


def on_codes(
    layer: Any, kernel: npt.NDArray[Any], largest_code: int = LARGEST_CODE, book: Codebook | None = None
) -> Floats:
    """The kernel as the nearest codes, of those in ``book`` where there is one, float32 of the same shape."""
    codes = codes_of(layer, kernel, largest_code)
    nearest = np.round(codes) if book is None else book.nearest(codes)
    return np.asarray(nearest * scale_of(layer, kernel, largest_code), np.float32)


def scale_of(layer: Any, kernel: npt.NDArray[Any], largest_code: int = LARGEST_CODE) -> Doubles:
    """What one code of each output channel is worth, float64, of the kernel's shape but 1 along what a channel adds up."""
    # (h, w, channels, multiplier) of a depthwise convolution: its output channels are the last two axes.
    num_output_axes = 2 if is_depthwise(layer) else 1
    largest = np.abs(kernel).max(axis=tuple(range(kernel.ndim - num_output_axes)), keepdims=True)
    return np.asarray(np.maximum(largest, 1e-9).astype(np.float64) / largest_code)
