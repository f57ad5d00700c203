"""This module bounds pairs of int8 weights whose products some CPUs add in 16 bits.

On x86 with AVX2 or AVX-512 and without VNNI, ONNX Runtime multiplies uint8 activations by int8 weights and adds two
neighbouring products in 16 bits (the instruction ``vpmaddubsw``). A sum that does not fit saturates there, and nowhere
else. A pair is two weights of one output that follow each other in the order in which a kernel is read: rows, columns,
then input channels. The first weight of a pair is at an even place. Convolutions that see one channel and give one are
computed in 32 bits, and have no pairs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

LARGEST_SUM = 128  # largest sum of two weights of one sign: 255 * 128 fits into signed 16 bits, 255 * 129 does not
Doubles = npt.NDArray[np.float64]


def onnx_rows(op_type: str, weights: npt.NDArray[Any], group: int = 1, *, is_transposed: bool = False) -> Any:
    """Return the weights of an ONNX operator as (inputs, outputs), in the order of reading; None without pairs.

    ``weights`` of a convolution are (outputs, inputs / ``group``, rows, columns). The weights of a matrix product are
    (inputs, outputs), or (outputs, inputs) where ``is_transposed``.
    """
    if "Conv" in op_type:
        if weights.shape[1] == 1 and len(weights) == group:
            return None
        return np.moveaxis(weights, 1, -1).reshape(len(weights), -1).T
    if is_transposed:
        return weights.T
    return np.moveaxis(weights, -2, 0).reshape(weights.shape[-2], -1)  # the matrices of a batch stand side by side


def largest_sums(weights: npt.NDArray[Any]) -> Doubles:
    """Return the largest absolute sum that one pair of each output reaches in 16 bits, float64 (outputs,).

    ``weights`` are (inputs, outputs), in the order in which they are read. Weights of different signs work against each
    other, so only the larger of the two counts.
    """
    first, second = _halves(np.asarray(weights, np.float64))
    upward = np.maximum(first, 0) + np.maximum(second, 0)
    downward = np.maximum(-first, 0) + np.maximum(-second, 0)
    return np.asarray(np.maximum(upward, downward).max(axis=0))


def scales(weights: npt.NDArray[Any], largest_code: int) -> Doubles:
    """Return the scale of each output at which no quantized weight exceeds ``largest_code``, no pair ``LARGEST_SUM``.

    ``weights`` are (inputs, outputs), in the order in which they are read. The result is float64 (outputs,), 0 where
    all weights are zero.
    """
    largest = np.abs(np.asarray(weights, np.float64)).max(axis=0)
    return np.asarray(np.maximum(largest / largest_code, largest_sums(weights) / LARGEST_SUM))


def rounded(weights: Doubles) -> Doubles:
    """Round weights in units of their scale to whole numbers, so that no pair exceeds ``LARGEST_SUM``.

    Both are float64 (inputs, outputs), and no pair of the input exceeds it either. Two numbers whose sum does not
    exceed a whole number do not exceed it after rounding, unless both are halves. A float error that puts one of them
    above its half would then make the pair too large by one.
    """
    codes = np.round(weights)
    first, second = codes[0::2][: len(codes) // 2], codes[1::2]
    first -= np.where(np.abs(first + second) > LARGEST_SUM, np.sign(first), 0)
    return np.asarray(codes)


def _halves(weights: Doubles) -> tuple[Doubles, Doubles]:
    """Return the first and the second weights of all pairs, each (pairs, outputs); a zero completes an odd number."""
    if len(weights) % 2:
        weights = np.concatenate([weights, np.zeros_like(weights[:1])])
    return weights[0::2], weights[1::2]
