"""What a section of the report is: a part for each kind of report it stands in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from rich.console import RenderableType

from tledge.records import Report

Values = dict[str, Any]
"""What the template of a part names besides ``report``, ``names`` (artifact to its short name) and ``anchor``."""


@dataclass(frozen=True)
class Section:
    """A section of the report. A part that is None is left out of that kind of report.

    Attributes:
        order: Sections stand in ascending order. Steps of ten leave room for new ones.
        title: The section's name in the menu of report.html.
        html: Returns the values of ``NAME.html.j2``, or None where this report has nothing to show.
        markdown: Returns the values of ``NAME.md.j2``, or None where this report has nothing to show.
        terminal: Yields lines and tables for a terminal of so many columns, or nothing.
    """

    order: int
    title: str
    html: Callable[[Report], Values | None] | None = None
    markdown: Callable[[Report], Values | None] | None = None
    terminal: Callable[[Report, int], Iterable[RenderableType]] | None = None
