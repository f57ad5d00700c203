"""How the ranges of activations are chosen: by one method, or by the one whose answers are nearest to the float network's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tledge.compression import Prepared
from tledge.compression.distillation import Examples, divergences
from tledge.compression.qat import quantized
from tledge.compression.ranges import METHODS, Seen
from tledge.errors import InputError, unknown

AUTO, DEFAULT = "auto", "mse"


def require_method(name: str) -> None:
    """Raise InputError, with the nearest match, for a name that is no method."""
    if name not in (*METHODS, AUTO):
        raise unknown("calibration method", name, [*METHODS, AUTO])


def calibrated(fit: Callable[[str], Prepared], method: str, examples: Examples) -> Prepared:
    """What ``fit`` makes with the ranges of ``method``, and notes on how much these depend on the photos.

    Each method has a fit of its own, for the weights of a layer make up for what the ranges before it cut off. ``auto``: the
    method of the least divergence from what is wanted of the validation photos. Raises InputError where there are none to
    choose by.
    """
    if method != AUTO:
        return with_stability(fit(method))
    if not len(examples.validation):
        raise InputError("--calibration auto chooses by the validation split, which is empty; name a method")
    made = {name: fit(name) for name in METHODS}
    tried = {name: _divergence(one, examples) for name, one in made.items()}
    best = with_stability(made[min(tried, key=lambda name: tried[name])])
    rounded = {name: round(value, 6) for name, value in tried.items()}
    return replace(best, notes={**best.notes, "ranges_tried": rounded})


def with_stability(prepared: Prepared) -> Prepared:
    """``prepared`` with a note on how far its ranges of one half of the photos are from those of the other."""
    stability = _stability(prepared, prepared.notes["ranges"])
    return replace(prepared, notes={**prepared.notes, "range_stability": stability})


def _divergence(prepared: Prepared, examples: Examples) -> float:
    """In the mean over the validation photos, in nats."""
    student = quantized(prepared.network, prepared.ranges, bounds_pairs=prepared.bounds_pairs)
    return float(divergences(student, prepared.input_codes, examples).mean())


def _stability(prepared: Prepared, method: str) -> dict[str, Any] | None:
    """How far the ranges of two disjoint halves of the photos are from each other, in parts of the wider one.

    None of a single photo, which has no halves.
    """
    if any(not len(half.lows) for halves in prepared.seen.values() for half in halves):
        return None

    def distance(one: Seen, other: Seen) -> float:
        (low, high), (other_low, other_high) = METHODS[method](one), METHODS[method](other)
        width = max(high, other_high) - min(low, other_low)
        return max(abs(low - other_low), abs(high - other_high)) / width

    distances = {name: distance(*halves) for name, halves in prepared.seen.items()}
    worst = max(distances, key=lambda name: distances[name])
    mean = sum(distances.values()) / len(distances)
    return {"mean_difference": round(mean, 4), "largest_difference": round(distances[worst], 4), "layer": worst}
