"""Axes say at which pixel of a chart a value stands, and which values are marked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Tick:
    """A tick marks a place on an axis, in pixels, with a text."""

    at: float
    text: str


@dataclass(frozen=True)
class Axis:
    """An axis maps values ``low`` to ``high`` to pixels ``start`` to ``end``, evenly or by their logarithms."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def at(self, value: float) -> float:
        """Return the pixel at which a value stands, rounded to a tenth."""
        low, high, here = (math.log(part) if self.is_log else part for part in (self.low, self.high, value))
        return round(self.start + (here - low) / (high - low) * (self.end - self.start), 1)

    @property
    def ticks(self) -> list[Tick]:
        """Return ticks at round values inside the axis: 1, 2 and 5 times powers of ten, or multiples of such a step."""
        values = _log_values(self.low, self.high) if self.is_log else _even_values(self.low, self.high)
        return [Tick(self.at(value), f"{value:g}".replace("-", "\N{MINUS SIGN}")) for value in values]


def _even_values(low: float, high: float) -> list[float]:
    rough = (high - low) / 5
    decade = 10.0 ** math.floor(math.log10(rough))
    step = next(decade * factor for factor in (1, 2, 5, 10) if decade * factor >= rough)
    return [round(index * step, 10) for index in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _log_values(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [factor * 10.0**decade for decade in decades for factor in (1, 2, 5) if low <= factor * 10.0**decade <= high]


def log_axis(values: Sequence[float], start: float, end: float) -> Axis:
    """Return a logarithmic axis that holds all ``values`` with some room. They must be above zero."""
    return Axis(min(values) / 1.25, max(values) * 1.25, start, end, is_log=True)


def padded(values: Sequence[float], least: float) -> tuple[float, float]:
    """Return the ends of an axis that holds all ``values`` with some room and spans at least about ``least``."""
    span = max(max(values) - min(values), least)
    middle = (max(values) + min(values)) / 2
    return middle - 0.62 * span, middle + 0.62 * span
