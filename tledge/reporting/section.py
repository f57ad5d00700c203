"""This module defines a section of the report, and how it appears in HTML, in Markdown and in the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from rich.console import RenderableType

from tledge.records import Report

Values = dict[str, Any]
"""These are the variables of a part's template. It also gets ``report``, ``names`` (artifact to its short name) and
``anchor``."""


@dataclass(frozen=True)
class Section:
    """A section has a part for HTML, for Markdown and for the terminal. If a part is None, that output omits the section.

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
