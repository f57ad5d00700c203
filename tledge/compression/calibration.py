"""This module names the calibration methods and measures how much the ranges depend on the photos."""

from __future__ import annotations

from dataclasses import replace

from tledge.compression.notes import StabilityNotes
from tledge.compression.prepared_network import PreparedNetwork
from tledge.compression.ranges import METHODS, Histogram
from tledge.errors import unknown

DEFAULT = "mse"


def require_method(name: str) -> None:
    """Raise InputError, with the nearest match, where ``name`` is not a calibration method."""
    if name not in METHODS:
        raise unknown("calibration method", name, METHODS)


def with_stability(prepared: PreparedNetwork) -> PreparedNetwork:
    """Return ``prepared`` with a note on how much the ranges of two halves of the photos differ."""
    stability = _stability(prepared, prepared.fitting.ranges)
    return replace(prepared, fitting=prepared.fitting.model_copy(update={"range_stability": stability}))


def _stability(prepared: PreparedNetwork, method: str) -> StabilityNotes | None:
    """Measure how far the ranges of two disjoint halves of the photos differ, as a fraction of the wider range.

    Returns None for a single photo, which has no halves.
    """
    if any(not len(half.lows) for halves in prepared.histograms.values() for half in halves):
        return None

    def distance(one: Histogram, other: Histogram) -> float:
        (low, high), (other_low, other_high) = METHODS[method](one), METHODS[method](other)
        width = max(high, other_high) - min(low, other_low)
        return max(abs(low - other_low), abs(high - other_high)) / width

    distances = {name: distance(*halves) for name, halves in prepared.histograms.items()}
    worst = max(distances, key=lambda name: distances[name])
    mean = sum(distances.values()) / len(distances)
    return StabilityNotes(mean_difference=round(mean, 4), largest_difference=round(distances[worst], 4), layer=worst)
