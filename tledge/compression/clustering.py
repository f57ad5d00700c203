"""This module chooses few quantized values for many weights, so that a compressed file is small.

TFMOT's clustering gives the weights of a layer few common values. In an int8 file they are divided by a scale of
their channel, and are no longer common. So the quantized values are clustered here, and TFMOT's quantization-aware
training goes through them. The size of a compressed file depends on how often each quantized value is used, not on
how many there are. So each weight goes where its squared distance and its length in bits are least together
(entropy-constrained quantization, Chou, Lookabaugh and Gray, 1989).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.compression.codes import LARGEST_CODE, Codebook, Grid, large
from tledge.errors import InputError

MIN_CLUSTERS, DEFAULT_CLUSTERS, MAX_CLUSTERS = 4, 32, 256
# The price of a bit, in squared quantized values, for the default number of clusters or fewer. docs/experiments.md says how
# many bits a weight then takes.
_PRICE = 150.0
_ROUNDS = 40


def require_clusters(count: int) -> None:
    """Raise InputError for a number of clusters outside ``MIN_CLUSTERS`` to ``MAX_CLUSTERS``."""
    if not MIN_CLUSTERS <= count <= MAX_CLUSTERS:
        raise InputError(
            f"--clusters {count}: use {MIN_CLUSTERS} to {MAX_CLUSTERS} (the default is {DEFAULT_CLUSTERS})"
        )


def codebooks(network: Any, count: int) -> dict[str, Codebook]:
    """Choose at most ``count`` quantized values for each convolution and dense layer with many weights, by layer name.

    Depthwise kernels are left out: their weights are few, and each of them counts. A bit is cheaper in a layer with
    fewer weights, in proportion to the square root of their number. Such a layer's errors hurt the answers as much,
    and all its bits are few. Raises InputError where no layer is large enough.
    """
    layers = large(network)
    if not layers:
        raise InputError("no layer of this network has so many weights that fewer codes would make its file smaller")
    kernels = [layer.get_weights()[0] for layer in layers]
    sizes = np.array([kernel.size for kernel in kernels])
    usual = np.average(sizes, weights=sizes)  # the average weight is in a layer of this size
    prices = _PRICE * np.sqrt(sizes / usual)
    return {
        layer.name: codebook(np.round(Grid().codes_of(layer, kernel)).astype(np.int64), count, float(price))
        for layer, kernel, price in zip(layers, kernels, prices, strict=True)
    }


def codebook(codes: npt.NDArray[np.int64], count: int, price: float = _PRICE) -> Codebook:
    """Choose at most ``count`` values that stand for the quantized values ``codes``.

    ``codes`` have any shape and reach ``LARGEST_CODE`` at most, with either sign.

    ``price`` is what one bit costs, in squared quantized values. Beyond the default number of clusters, twice as many
    cost one more bit a weight. So the price falls with the square of ``count``, as the rounding error does. Below the
    default, ``count`` only limits the number. The two largest values stay, because the largest weight of a channel
    must keep its value where a file derives the scale from it. Zero stays, because pruned weights are zero.
    """
    every = np.arange(-LARGEST_CODE, LARGEST_CODE + 1)
    counts = np.bincount(codes.ravel() + LARGEST_CODE, minlength=len(every)).astype(np.float64)
    counts[[0, -1]] = 0  # the two largest keep their own values
    counts[LARGEST_CODE] = max(counts[LARGEST_CODE], 1)
    spread = np.linspace(-LARGEST_CODE, LARGEST_CODE, 2 * ((count - 1) // 2))[1:-1]
    centres = np.sort(np.append(spread, 0.0))
    shares = np.full(len(centres), 1 / len(centres))
    price *= min(1.0, (DEFAULT_CLUSTERS / count) ** 2)
    for _ in range(_ROUNDS):
        nearest = _cheapest(every, centres, shares, price)
        mass, sums = (np.bincount(nearest, part, len(centres)) for part in (counts, counts * every))
        is_used = mass > 0
        centres = np.where(centres == 0, 0.0, sums / np.maximum(mass, 1))[is_used]
        shares = (mass / mass.sum())[is_used]
    values = np.round(centres)[_cheapest(every, centres, shares, price)].astype(np.int64)
    values[[0, -1]] = -LARGEST_CODE, LARGEST_CODE
    steps = np.flatnonzero(np.diff(values))
    return Codebook(np.append(values[steps], values[-1]), every[steps].astype(np.float64) + 0.5)


def _cheapest(
    codes: npt.NDArray[np.int64], centres: npt.NDArray[np.float64], shares: npt.NDArray[np.float64], price: float
) -> npt.NDArray[np.intp]:
    """Return the index of the cheapest centre for each quantized value.

    The cost is the squared distance plus ``price`` times the bits that the centre takes. Zero always goes to zero.
    """
    costs = (codes[:, None] - centres) ** 2 - price * np.log2(shares)
    costs[codes == 0] = np.where(centres == 0, 0, np.inf)
    return np.asarray(np.argmin(costs, axis=1))
