"""From what values a layer's output took to the range that its codes shall cover."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Range = tuple[float, float]
BINS = 2048
LEVELS = 255  # steps between the smallest and the largest code of 8 bits
# What lies nearer to zero counts as zero, as behind a ReLU that lets nothing through. Any width has a code for zero; one that is
# far from all others' makes factors between codes that XNNPACK refuses when it loads the file.
_NARROWEST, _OF_ZEROS = 1e-6, 1.0
_RARE = 1e-12  # the share of a bin of which nothing was seen
_SHARES, _WIDE, _NARROW = np.array([0.3, 1.0]), 0.05, 0.01  # of the way from zero to the end that was seen


@dataclass(frozen=True)
class Seen:
    """All values of one output on some photos: ``counts`` int64 (BINS,) in equal bins from ``low`` to ``high``.

    ``lows`` and ``highs``: the smallest and the largest value of each photo, float32 (N,).
    """

    low: float
    high: float
    counts: npt.NDArray[np.int64]
    lows: npt.NDArray[np.float32]
    highs: npt.NDArray[np.float32]

    def __add__(self, other: Seen) -> Seen:
        """On the photos of both, whose bins must be the same."""
        assert (self.low, self.high) == (other.low, other.high)
        lows, highs = (np.append(mine, theirs) for mine, theirs in ((self.lows, other.lows), (self.highs, other.highs)))
        return Seen(self.low, self.high, self.counts + other.counts, lows, highs)

    @property
    def centres(self) -> npt.NDArray[np.float64]:
        """Of the bins."""
        edges = np.linspace(self.low, self.high, len(self.counts) + 1)
        return np.asarray((edges[:-1] + edges[1:]) / 2)


def with_zero(low: float, high: float) -> Range:
    """The range widened to hold zero, which must have a code: padding is zero. It has a width even where all is zero."""
    low, high = min(low, 0.0), max(high, 0.0)
    return (low, high) if high - low > _NARROWEST else (0.0, _OF_ZEROS)


def scale_of(low: float, high: float) -> float:
    """What one of the codes of 8 bits for such a range is worth."""
    return (high - low) / LEVELS


def min_max(seen: Seen) -> Range:
    """Everything that was seen."""
    return with_zero(float(seen.lows.min()), float(seen.highs.max()))


def moving_average(seen: Seen) -> Range:
    """From the mean of the photos' smallest values to that of their largest, as ONNX Runtime averages them."""
    return with_zero(float(seen.lows.mean()), float(seen.highs.mean()))


def percentile(seen: Seen, share: float = 0.9999) -> Range:
    """What ``share`` of the values do not go below, and do not go above."""
    up_to = np.cumsum(seen.counts) / seen.counts.sum()
    edges = np.linspace(seen.low, seen.high, len(seen.counts) + 1)
    low = edges[np.searchsorted(up_to, 1 - share)]
    high = edges[min(len(seen.counts), int(np.searchsorted(up_to, share)) + 1)]
    return with_zero(float(low), float(high))


def least_squares(seen: Seen) -> Range:
    """The range of the least mean squared error of 8 bits, clipping included (Banner et al., 2019, arXiv:1810.05723).

    Of pairs of ends, each at 30% to 100% of the way from zero to what was seen.
    """
    values, counts = seen.centres, seen.counts
    return _least(seen, lambda a, b: float(counts @ (_rounded(values, a, b) - values) ** 2))


def entropy(seen: Seen) -> Range:
    """The range that tells most of how the values are spread: least divergence of the histogram that 8 bits give back.

    Kullback-Leibler, as TensorRT does it (Migacz, 2017, "8-bit inference with TensorRT"), here with two ends: what is cut
    off counts at the ends, and the values of a code are spread evenly over the bins that it stands for.
    """
    values, counts = seen.centres, seen.counts.astype(np.float64)

    def divergence(a: float, b: float) -> float:
        inside = (values >= a) & (values <= b)
        if not counts[inside].any():
            return np.inf
        levels = _codes(values[inside], a, b).astype(np.int64)
        own = counts[inside]
        seen_bins = np.bincount(levels, own > 0, LEVELS + 1)[levels]
        spread = np.where(own > 0, np.bincount(levels, own, LEVELS + 1)[levels] / np.maximum(seen_bins, 1), 0.0)
        wanted = own.copy()
        wanted[0] += counts[values < a].sum()
        wanted[-1] += counts[values > b].sum()
        wanted, spread = wanted / wanted.sum(), np.maximum(spread / spread.sum(), _RARE)
        return float(np.sum(wanted * np.log(np.maximum(wanted, _RARE) / spread)))

    return _least(seen, divergence)


def _least(seen: Seen, error: Callable[[float, float], float]) -> Range:
    """The pair of ends of the least error, each a share of the way from zero to what was seen.

    Looked for in wide steps first, then in narrow ones around the best.
    """
    low, high = min_max(seen)
    best = (np.inf, low, high)
    middles = (_SHARES.mean(), _SHARES.mean())
    for reach, step in ((np.ptp(_SHARES) / 2, _WIDE), (_WIDE, _NARROW)):
        tried = [np.clip(np.arange(middle - reach, middle + reach + 1e-9, step), *_SHARES) for middle in middles]
        for a in low * tried[0] if low else [0.0]:
            for b in high * tried[1] if high else [0.0]:
                if b > a:
                    best = min(best, (error(float(a), float(b)), float(a), float(b)))
        middles = (best[1] / low if low else middles[0], best[2] / high if high else middles[1])
    return best[1:]


def _rounded(values: npt.NDArray[np.float64], low: float, high: float) -> npt.NDArray[np.float64]:
    """Values as codes of 8 bits give them back; the zero point is a code, as in every runtime."""
    scale = scale_of(low, high)
    return np.asarray(scale * (_codes(values, low, high) - np.round(-low / scale)))


def _codes(values: npt.NDArray[np.float64], low: float, high: float) -> npt.NDArray[np.float64]:
    scale = scale_of(low, high)
    return np.asarray(np.clip(np.round(values / scale) + np.round(-low / scale), 0, LEVELS))


METHODS: dict[str, Callable[[Seen], Range]] = {
    "min-max": min_max,
    "moving-average": moving_average,
    "percentile": percentile,
    "entropy": entropy,
    "mse": least_squares,
}
