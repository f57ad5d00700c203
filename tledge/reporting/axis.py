"""Axes of the charts: which pixel a value stands at, and which values are marked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Tick:
    """A place on an axis and what stands there."""

    at: float
    text: str


@dataclass(frozen=True)
class Axis:
    """Values ``low`` to ``high`` on pixels ``start`` to ``end``, evenly or by their logarithms."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def at(self, value: float) -> float:
        """The pixel of a value, to a tenth."""
        low, high, here = (math.log(part) if self.is_log else part for part in (self.low, self.high, value))
        return round(self.start + (here - low) / (high - low) * (self.end - self.start), 1)

    @property
    def ticks(self) -> list[Tick]:
        """Round values inside the axis: 1, 2, 5 and their decades."""
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
    """An axis by logarithms that holds all ``values``, which are above zero, with some room."""
    return Axis(min(values) / 1.25, max(values) * 1.25, start, end, is_log=True)


def padded(values: Sequence[float], least: float) -> tuple[float, float]:
    """The ends of an axis that holds all ``values`` with some room, and is at least about ``least`` long."""
    span = max(max(values) - min(values), least)
    middle = (max(values) + min(values)) / 2
    return middle - 0.62 * span, middle + 0.62 * span
