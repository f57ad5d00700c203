"""This module has what the charts of report.html share.

Sections turn numbers into coordinates, and templates only draw them. Each chart is laid out for a given width, so that
its text keeps its size on a phone and on a screen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tledge.records import Report

WIDTHS = (720, 328)
"""The charts are drawn in these widths, in pixels: for a page of usual width, and for a phone of 360 pixels."""
MIN_POINTS = 1.0
"""An axis spans at least so many points of accuracy: fewer would make one photo's difference look like a cliff."""
_NARROW = 500
_Chart = TypeVar("_Chart")


def in_every_width(chart: Callable[[Report, int], _Chart | None], report: Report) -> list[_Chart]:
    """Return a chart in every width, without the widths in which it has nothing to show."""
    return [made for width in WIDTHS if (made := chart(report, width)) is not None]


def is_narrow(width: int) -> bool:
    """Return whether a chart is for a phone."""
    return width <= _NARROW


@dataclass(frozen=True)
class ChartRows:
    """The rows of a chart are placed here, in pixels.

    On a phone a row's texts stand above what is drawn of it, else beside it.
    """

    width: int
    count: int

    @property
    def ends(self) -> tuple[float, float]:
        """Return the first and the last pixel of the axis."""
        return (12.0, self.width - 12.0) if is_narrow(self.width) else (160.0, self.width - 190.0)

    @property
    def names_end(self) -> float:
        """Return the pixel at which the names beside the rows end."""
        return self.ends[0] - 12

    @property
    def height(self) -> int:
        """Return the height of the whole chart in pixels, with the axis below the rows."""
        return self._top + self.count * self._row_height + 44

    def at(self, index: int) -> tuple[float, float]:
        """Return the height at which a row is drawn (its middle) and the one at which its texts stand, in pixels."""
        upper = self._top + index * self._row_height
        return (upper + 28.0, upper + 12.0) if is_narrow(self.width) else (upper + 15.0, upper + 19.0)

    @property
    def _top(self) -> int:
        return 30 if is_narrow(self.width) else 34

    @property
    def _row_height(self) -> int:
        return 46 if is_narrow(self.width) else 30
