"""This module chooses the range of a layer's quantized output from the values that the output took."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Range = tuple[float, float]
BINS = 2048
LEVELS = 255  # steps between the smallest and the largest 8-bit quantized value
# A narrower range counts as zero, as behind a ReLU that lets nothing through, and gets the width _OF_ZEROS. Any width would
# represent zero, but one far from all others makes ratios of scales that XNNPACK refuses when it loads the file.
_NARROWEST, _OF_ZEROS = 1e-6, 1.0
_SHARES, _WIDE, _NARROW = np.array([0.3, 1.0]), 0.05, 0.01  # parts of the way from zero to the end that was seen


@dataclass(frozen=True)
class Histogram:
    """A histogram counts the values of one output on some photos in equal bins from ``low`` to ``high``.

    ``counts`` is int64 (BINS,). ``lows`` and ``highs`` are the smallest and the largest value of each photo, float32
    (N,).
    """

    low: float
    high: float
    counts: npt.NDArray[np.int64]
    lows: npt.NDArray[np.float32]
    highs: npt.NDArray[np.float32]

    def __add__(self, other: Histogram) -> Histogram:
        """Join the histograms of two sets of photos, whose bins must be the same."""
        assert (self.low, self.high) == (other.low, other.high)
        lows, highs = (np.append(mine, theirs) for mine, theirs in ((self.lows, other.lows), (self.highs, other.highs)))
        return Histogram(self.low, self.high, self.counts + other.counts, lows, highs)

    @property
    def centres(self) -> npt.NDArray[np.float64]:
        """Compute the centre of each bin."""
        edges = np.linspace(self.low, self.high, len(self.counts) + 1)
        return np.asarray((edges[:-1] + edges[1:]) / 2)


def with_zero(low: float, high: float) -> Range:
    """Widen a range so that it contains zero, because padding is zero and needs a quantized value.

    The range has a width even where all values are zero.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    return (low, high) if high - low > _NARROWEST else (0.0, _OF_ZEROS)


def scale_of(low: float, high: float) -> float:
    """Return the scale of a range that is divided into 8-bit quantized values."""
    return (high - low) / LEVELS


def min_max(seen: Histogram) -> Range:
    """Return the range from the smallest to the largest value that was seen, widened to contain zero."""
    return with_zero(float(seen.lows.min()), float(seen.highs.max()))


def least_squares(seen: Histogram) -> Range:
    """Return the range with the least mean squared error of 8 bits, clipping included.

    The criterion is that of Banner et al., 2019, arXiv:1810.05723. Each end is tried at 30% to 100% of the way from
    zero to the largest value seen on its side. The search takes wide steps first, then narrow ones around the best
    pair.
    """
    values, counts = seen.centres, seen.counts
    low, high = min_max(seen)
    best = (np.inf, low, high)
    middles = (_SHARES.mean(), _SHARES.mean())
    for reach, step in ((np.ptp(_SHARES) / 2, _WIDE), (_WIDE, _NARROW)):
        tried = [np.clip(np.arange(middle - reach, middle + reach + 1e-9, step), *_SHARES) for middle in middles]
        for a in map(float, low * tried[0] if low else [0.0]):
            for b in map(float, high * tried[1] if high else [0.0]):
                if b > a:
                    best = min(best, (float(counts @ (_rounded(values, a, b) - values) ** 2), a, b))
        middles = (best[1] / low if low else middles[0], best[2] / high if high else middles[1])
    return best[1:]


def _rounded(values: npt.NDArray[np.float64], low: float, high: float) -> npt.NDArray[np.float64]:
    """Round values to 8 bits and return the real numbers that they stand for.

    The zero point is a whole number, as in every runtime.
    """
    scale = scale_of(low, high)
    zero_point = np.round(-low / scale)
    return np.asarray(scale * (np.clip(np.round(values / scale) + zero_point, 0, LEVELS) - zero_point))


METHODS: dict[str, Callable[[Histogram], Range]] = {"min-max": min_max, "mse": least_squares}
