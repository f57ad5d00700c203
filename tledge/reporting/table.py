"""This module shows the report as tables for a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from tledge.printable import one_line
from tledge.records import Report
from tledge.reporting.sections import sections
from tledge.reporting.terminal import STYLES
from tledge.reporting.wording import verdict_text


def table(report: Report, width: int, *, is_warned: bool = False) -> RenderableType:
    """Return the terminal parts of all sections, with a blank line between them and the verdict at the end.

    Args:
        report: The record that is shown.
        width: The columns of the terminal.
        is_warned: Whether the report's own warnings were shown while it was measured; they are not shown again.
    """
    if is_warned:
        report = report.model_copy(update={"warnings": []})
    parts: list[RenderableType] = []
    for section in sections().values():
        shown = list(section.terminal(report, width)) if section.terminal else []
        parts += [*shown, Text()] if shown else []
    last = Text(one_line(f"verdict: {verdict_text(report)}"), style=f"bold {STYLES[report.verdict]}")
    return Group(*parts, last)
