"""From what values a layer's output took to the range that its codes shall cover."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tledge.compression import Range

BINS = 2048
_LEVELS = 255  # steps between the smallest and the largest code of 8 bits
_SHARES = np.linspace(0.3, 1.0, 71)  # of the way from zero to the end that was seen


@dataclass(frozen=True)
class Seen:
    """A histogram of all values of one output: ``counts`` int64 (BINS,) in equal bins from ``low`` to ``high``."""

    low: float
    high: float
    counts: npt.NDArray[np.int64]

    @property
    def centres(self) -> npt.NDArray[np.float64]:
        """Of the bins."""
        edges = np.linspace(self.low, self.high, len(self.counts) + 1)
        return np.asarray((edges[:-1] + edges[1:]) / 2)


def with_zero(low: float, high: float) -> Range:
    """The range widened to hold zero, which must have a code: padding is zero."""
    return min(low, 0.0), max(high, 0.0)


def min_max(seen: Seen) -> Range:
    """Everything that was seen."""
    return with_zero(seen.low, seen.high)


def percentile(seen: Seen, share: float = 0.9999) -> Range:
    """What ``share`` of the values do not go below, and do not go above."""
    up_to = np.cumsum(seen.counts) / seen.counts.sum()
    edges = np.linspace(seen.low, seen.high, len(seen.counts) + 1)
    low = edges[np.searchsorted(up_to, 1 - share)]
    high = edges[min(len(seen.counts), int(np.searchsorted(up_to, share)) + 1)]
    return with_zero(float(low), float(high))


def least_squares(seen: Seen) -> Range:
    """The range of the least mean squared error of 8 bits, clipping included (Banner et al., 2019, arXiv:1810.05723).

    Of all pairs of ends, each at 30% to 100% of the way from zero to what was seen.
    """
    low, high = min_max(seen)
    values, counts = seen.centres, seen.counts
    best = (np.inf, low, high)
    for a in low * _SHARES if low else [0.0]:
        for b in high * _SHARES if high else [0.0]:
            if b > a:
                error = float(counts @ (_rounded(values, a, b) - values) ** 2)
                best = min(best, (error, float(a), float(b)))
    return best[1:]


def _rounded(values: npt.NDArray[np.float64], low: float, high: float) -> npt.NDArray[np.float64]:
    """Values as codes of 8 bits give them back; the zero point is a code, as in every runtime."""
    scale = (high - low) / _LEVELS
    zero_point = np.round(-low / scale)
    return np.asarray(scale * (np.clip(np.round(values / scale) + zero_point, 0, _LEVELS) - zero_point))


METHODS: dict[str, Callable[[Seen], Range]] = {"min-max": min_max, "percentile": percentile, "mse": least_squares}
