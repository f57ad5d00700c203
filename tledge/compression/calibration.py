"""The methods that choose ranges of activations, and how much these depend on the photos."""

from __future__ import annotations

from dataclasses import replace

from tledge.compression.notes import StabilityNotes
from tledge.compression.prepared_network import PreparedNetwork
from tledge.compression.ranges import METHODS, Histogram
from tledge.errors import unknown

DEFAULT = "mse"


def require_method(name: str) -> None:
    """Raise InputError, with the nearest match, for a name that is no method."""
    if name not in METHODS:
        raise unknown("calibration method", name, METHODS)


def with_stability(prepared: PreparedNetwork) -> PreparedNetwork:
    """``prepared`` with a note on how far its ranges of one half of the photos are from those of the other."""
    stability = _stability(prepared, prepared.fitting.ranges)
    return replace(prepared, fitting=prepared.fitting.model_copy(update={"range_stability": stability}))


def _stability(prepared: PreparedNetwork, method: str) -> StabilityNotes | None:
    """How far the ranges of two disjoint halves of the photos are from each other, in parts of the wider one.

    None of a single photo, which has no halves.
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
