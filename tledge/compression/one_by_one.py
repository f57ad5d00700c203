"""This module rounds a kernel one input after another; the inputs still to come correct each rounding error.

The nearest quantized value is best for one weight alone. But a layer adds up all its inputs. Where inputs are
correlated, one weight can undo another's error (Frantar et al., 2022, arXiv:2210.17323, after Hassibi and Stork, 1993).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.compression.codes import LARGEST_CODE, Grid
from tledge.compression.least_squares import MOST_INPUTS, Moments

_HOLD = 0.01  # this part of the mean variance is added to each input: a still one would take up any error
Booleans = npt.NDArray[np.bool_]
Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]


def on_coarse_codes(
    layer: Any, kernel: Doubles, grid: Grid, halves: Sequence[Moments], free: Booleans | None = None
) -> Floats:
    """Round a kernel one input after another if other photos confirm that this helps, else to the nearest values.

    In a few photos, inputs can be correlated by chance. So the kernel rounded by one half of the photos is tested on
    the other half. ``halves`` are the moments of the layer's inputs on the even and on the odd photos, with one group.
    The nearest values are used where a half is empty or an output has more than ``MOST_INPUTS`` inputs.
    """
    nearest = grid.on_codes(layer, kernel)
    if kernel[..., 0].size > MOST_INPUTS or not all(half.count for half in halves):
        return nearest

    def made_up(sums: Moments) -> Floats:
        return round_one_by_one(layer, kernel, sums.covariance()[0], grid, free)

    def error(half: Moments, weights: Floats) -> float:
        return half.error(weights.reshape(1, -1, weights.shape[-1]).astype(np.float64))

    one, other = halves
    found = error(other, made_up(one)) + error(one, made_up(other))
    return made_up(one + other) if found < error(one, nearest) + error(other, nearest) else nearest


def round_one_by_one(
    layer: Any,
    kernel: Doubles,
    covariance: Doubles,
    grid: Grid,
    free: Booleans | None = None,
) -> Floats:
    """Round the kernel (..., outputs) to quantized values of ``grid``, and return them as float32 of the same shape.

    ``covariance`` (k, k) is the covariance of the k inputs of an output. The inputs that vary most are rounded first.
    The largest weight of each output keeps its quantized value, because a file derives the scale from it. A weight
    that is not ``free`` (k, outputs) becomes zero. Raises numpy.linalg.LinAlgError where ``covariance`` is not
    positive definite.
    """
    import scipy.linalg

    scale = grid.scale_of(layer, kernel).reshape(-1)
    codes = kernel.reshape(-1, len(scale)) / scale
    num_inputs, outputs = len(codes), np.arange(codes.shape[1])
    firm = covariance + (_HOLD * np.trace(covariance) / num_inputs + 1e-9) * np.eye(num_inputs)
    order = np.argsort(-np.diagonal(firm), kind="stable")
    inverse = scipy.linalg.cho_solve(scipy.linalg.cho_factor(firm[np.ix_(order, order)]), np.eye(num_inputs))
    passed_on = scipy.linalg.cholesky(inverse)  # upper triangle: from each input to the later ones
    wanted, largest = codes[order], np.argmax(np.abs(codes[order]), axis=0)
    of_largest = np.sign(wanted[largest, outputs]) * LARGEST_CODE
    may_be = None if free is None else free[order]
    found = np.empty_like(wanted)
    for row in range(num_inputs):
        found[row] = grid.nearest(wanted[row])
        if may_be is not None:
            found[row] *= may_be[row]
        found[row] = np.where(largest == row, of_largest, found[row])
        error = (wanted[row] - found[row]) / passed_on[row, row]
        wanted[row + 1 :] -= passed_on[row, row + 1 :, None] * error
    rounded = np.empty_like(found)
    rounded[order] = found
    return np.asarray(rounded * scale, np.float32).reshape(kernel.shape)
