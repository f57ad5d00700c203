"""Pairs of weights whose products a CPU adds in 16 bits, and how large the two may be together.

On x86 with AVX2 or AVX-512 and without VNNI, ONNX Runtime multiplies uint8 activations by int8 weights and adds two neighbouring
products in 16 bits (the instruction ``vpmaddubsw``). A sum that does not fit is cut off there, and nowhere else. A pair is two
weights of one output that follow each other in the order in which a kernel is read: rows, columns, then input channels. The
first is at an even place. Convolutions that see one channel and give one are computed in 32 bits, and have no pairs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

LARGEST_SUM = 128  # of two weights of one sign: 255 * 128 fits into 16 bits with a sign, 255 * 129 does not
Doubles = npt.NDArray[np.float64]


def onnx_rows(op_type: str, weights: npt.NDArray[Any], group: int = 1, *, is_transposed: bool = False) -> Any:
    """Returns the weights of an ONNX operator as (inputs, outputs) in the order in which they are read; None without pairs.

    ``weights``: of a convolution (outputs, inputs / ``group``, rows, columns), of a matrix product (inputs, outputs), or
    (outputs, inputs) where ``is_transposed``.
    """
    if "Conv" in op_type:
        if weights.shape[1] == 1 and len(weights) == group:
            return None
        return np.moveaxis(weights, 1, -1).reshape(len(weights), -1).T
    if is_transposed:
        return weights.T
    return np.moveaxis(weights, -2, 0).reshape(weights.shape[-2], -1)  # one matrix after another stands beside it


def largest_sums(weights: npt.NDArray[Any]) -> Doubles:
    """Returns the largest sum, without its sign, that one pair of each output reaches in 16 bits.

    ``weights``: (inputs, outputs), in the order in which they are read. Weights of different signs work against each other, so
    the larger one of them counts alone. The result is float64 (outputs,).
    """
    first, second = _halves(np.asarray(weights, np.float64))
    upward = np.maximum(first, 0) + np.maximum(second, 0)
    downward = np.maximum(-first, 0) + np.maximum(-second, 0)
    return np.asarray(np.maximum(upward, downward).max(axis=0))


def scales(weights: npt.NDArray[Any], largest_code: int) -> Doubles:
    """Returns what one code of each output is worth, where no weight exceeds ``largest_code`` and no pair ``LARGEST_SUM``.

    ``weights``: (inputs, outputs), in the order in which they are read. The result is float64 (outputs,), 0 where all are zero.
    """
    largest = np.abs(np.asarray(weights, np.float64)).max(axis=0)
    return np.asarray(np.maximum(largest / largest_code, largest_sums(weights) / LARGEST_SUM))


def rounded(weights: Doubles) -> Doubles:
    """Returns the nearest whole numbers to weights in codes whose pairs reach ``LARGEST_SUM`` at most, as theirs do then.

    float64 (inputs, outputs), both. Two numbers that do not exceed a whole number together do not exceed it when both are rounded,
    unless both are halves: one that a sum of floats puts above its half would make the pair too large by one.
    """
    codes = np.round(weights)
    first, second = codes[0::2][: len(codes) // 2], codes[1::2]
    first -= np.where(np.abs(first + second) > LARGEST_SUM, np.sign(first), 0)
    return np.asarray(codes)


def _halves(weights: Doubles) -> tuple[Doubles, Doubles]:
    """Returns the first and the second weights of all pairs, (pairs, outputs); an odd number is made even by a zero."""
    if len(weights) % 2:
        weights = np.concatenate([weights, np.zeros_like(weights[:1])])
    return weights[0::2], weights[1::2]
