"""This section shows where accuracy was lost: each step from the original to an artifact, measured on its own."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from tledge.records import Report
from tledge.reporting.section import Section, Values
from tledge.reporting.terminal import WIDE, plain_table
from tledge.reporting.wording import number, percent, signed


def _values(report: Report) -> Values | None:
    return {} if report.attribution else None


def _terminal(report: Report, width: int) -> Iterator[RenderableType]:
    """Yield a title and a table with one row for each step.

    The column "to" names the artifact. A wide terminal also shows the column "from".
    """
    if not report.attribution:
        return
    rows = []
    for step in report.attribution:
        figures = [signed(step.accuracy_drop_points), percent(step.agreement)]
        figures.append(number(step.mean_abs_probability_difference, 6))
        wide = [step.before, step.note] if width >= WIDE else []
        rows.append([step.step, step.after, *figures, *wide])
        if step.note and not wide:
            rows.append(["", step.note, "", "", ""])
    headings = ("step", "to", "drop pt", "agree %", "mean |dp|", *(("from", "note") if width >= WIDE else ()))
    yield Text("where it was lost", style="italic")
    yield plain_table(headings, rows, text=("step", "to", "from", "note"), wraps=("to", "from", "note"))


SECTION = Section(order=80, title="Where it was lost", html=_values, markdown=_values, terminal=_terminal)
