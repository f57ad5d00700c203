"""How the ranges of activations are chosen: by one method, or by the one whose answers are nearest to the float network's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tledge.compression import Prepared
from tledge.compression.distillation import Examples, divergences
from tledge.compression.qat import quantized
from tledge.compression.ranges import METHODS, Range, Seen
from tledge.errors import InputError, unknown
from tledge.progress import Progress

AUTO, DEFAULT = "auto", "mse"


def require_method(name: str) -> None:
    """Raise InputError, with the nearest match, for a name that is no method."""
    if name not in (*METHODS, AUTO):
        raise unknown("calibration method", name, [*METHODS, AUTO])


def calibrated(prepared: Prepared, method: str, examples: Examples, progress: Progress) -> Prepared:
    """``prepared`` with the ranges that ``method`` gives, and with notes on how much they depend on the photos.

    ``auto``: the method of the least divergence from what is wanted of the validation photos. Raises InputError where there
    are none to choose by.
    """
    tried: dict[str, Any] = {}
    if method == AUTO:
        if not len(examples.validation):
            raise InputError("--calibration auto chooses by the validation split, which is empty; name a method")
        with progress.step("trying calibration methods", len(METHODS)) as advance:
            for name in METHODS:
                code = prepared.largest_code
                student = quantized(prepared.network, _ranges(prepared, name), largest_code=code)
                tried[name] = float(divergences(student, prepared.input_codes, examples).mean())
                advance(1)
        method = min(tried, key=lambda name: tried[name])
    notes = {"ranges": method, "range_stability": _stability(prepared, method)}
    if tried:
        notes["ranges_tried"] = {name: round(value, 6) for name, value in tried.items()}
    return replace(prepared, ranges=_ranges(prepared, method), notes={**prepared.notes, **notes})


def _ranges(prepared: Prepared, method: str) -> Mapping[str, Range]:
    if method == prepared.notes["ranges"]:
        return prepared.ranges
    return {name: METHODS[method](one + other) for name, (one, other) in prepared.seen.items()}


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
