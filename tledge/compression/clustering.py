"""Few codes for many weights, chosen so that a compressed file is small.

TFMOT's clustering gives the weights of a layer few common values. In an int8 file they are divided by a scale of their
channel, and no longer common. So it is the codes that are clustered here, and TFMOT's quantization-aware training goes
through them. What a compressed file takes follows from how often each code is used, not from how many there are: weights
go where distance and length together are least (entropy-constrained quantization, Chou, Lookabaugh and Gray, 1989).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.compression.codes import LARGEST_CODE, Codebook, Grid, large
from tledge.errors import InputError

MIN_CLUSTERS, DEFAULT_CLUSTERS, MAX_CLUSTERS = 4, 32, 256
# Of a bit, in squared codes, for the default number or fewer: what a weight then takes is in docs/experiments.md.
_PRICE = 150.0
_ROUNDS = 40


def require_clusters(count: int) -> None:
    """Raise InputError for a number of clusters that can't be."""
    if not MIN_CLUSTERS <= count <= MAX_CLUSTERS:
        raise InputError(f"--clusters {count}: use {MIN_CLUSTERS} to {MAX_CLUSTERS}; {DEFAULT_CLUSTERS} is the default")


def codebooks(network: Any, count: int) -> dict[str, Codebook]:
    """Of each convolution and dense layer with many weights, by name, at most ``count`` codes.

    Depthwise kernels are not among them: their weights are few, and each of them counts. In a layer with fewer weights bits are
    cheaper, by the root of their number: what its errors do to the answers is no less, and all its bits are few. Raises
    InputError where no layer is large enough.
    """
    layers = large(network)
    if not layers:
        raise InputError("no layer of this network has so many weights that fewer codes would make its file smaller")
    kernels = [layer.get_weights()[0] for layer in layers]
    sizes = np.array([kernel.size for kernel in kernels])
    usual = np.average(sizes, weights=sizes)  # of the layer that a weight is in, on average
    prices = _PRICE * np.sqrt(sizes / usual)
    return {
        layer.name: codebook(np.round(Grid().codes_of(layer, kernel)).astype(np.int64), count, float(price))
        for layer, kernel, price in zip(layers, kernels, prices, strict=True)
    }


def codebook(codes: npt.NDArray[np.int64], count: int, price: float = _PRICE) -> Codebook:
    """At most ``count`` codes for these, any shape, of at most ``LARGEST_CODE`` and either sign.

    A bit has a ``price``. Beyond the default, twice as many clusters buy one more a weight: so the price goes with their square,
    as the error of rounding does; fewer only limit the number. The two largest codes stay, for the largest weight of a channel
    must keep its code where a file derives the scale from it; so does zero, because pruned weights are zero.
    """
    every = np.arange(-LARGEST_CODE, LARGEST_CODE + 1)
    counts = np.bincount(codes.ravel() + LARGEST_CODE, minlength=len(every)).astype(np.float64)
    counts[[0, -1]] = 0  # they have values of their own
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
    """Which centre each code goes to: squared distance, and ``price`` times the bits that the centre takes; zero to zero."""
    costs = (codes[:, None] - centres) ** 2 - price * np.log2(shares)
    costs[codes == 0] = np.where(centres == 0, 0, np.inf)
    return np.asarray(np.argmin(costs, axis=1))
