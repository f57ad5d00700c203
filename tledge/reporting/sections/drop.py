"""This section shows the accuracy drop of every artifact with its interval, and its drift in figures."""

from __future__ import annotations

from dataclasses import dataclass

from tledge.records import Check, Report
from tledge.reporting.axis import Axis, Tick, padded
from tledge.reporting.charts import MIN_POINTS, ChartRows, in_every_width
from tledge.reporting.section import Section, Values
from tledge.reporting.wording import check_of, short_names, signed, signed_interval


@dataclass(frozen=True)
class ForestRow:
    """A row draws a drop and its interval as a line at ``y``. Its texts stand at ``text_y``."""

    name: str
    y: float
    text_y: float
    text: str
    kind: str
    x: float | None
    low: float
    high: float


@dataclass(frozen=True)
class Forest:
    """A forest draws drops with their intervals against zero and the budget (a forest plot)."""

    width: int
    height: int
    axis: Axis
    names_end: float
    zero: float
    limit: Tick
    rows: list[ForestRow]


def forest(report: Report, width: int) -> Forest | None:
    """Lay out the accuracy drops of all artifacts as a chart; return None where none ran."""
    names = short_names(report.rows)
    drifts = [row.drift for row in report.rows if row.drift]
    if not drifts:
        return None
    places = ChartRows(width, len(report.rows))
    limit = report.target.budget.max_accuracy_drop_points
    intervals = [drift.accuracy_drop_points_interval for drift in drifts]
    ends = [end for interval in intervals for end in (interval.low, interval.high)]
    low, high = padded([0.0, limit, *ends], MIN_POINTS)
    axis = Axis(low, high, *places.ends)
    rows = []
    for index, row in enumerate(report.rows):
        y, text_y = places.at(index)
        drift, text = row.drift, "did not run"
        if drift:
            text = f"{signed(drift.accuracy_drop_points)} ({signed_interval(drift.accuracy_drop_points_interval)})"
        rows.append(
            ForestRow(
                name=names[row.artifact],
                y=y,
                text_y=text_y,
                text=text,
                kind=_kind(check_of(row, "max_accuracy_drop_points")),
                x=axis.at(drift.accuracy_drop_points) if drift else None,
                low=axis.at(drift.accuracy_drop_points_interval.low) if drift else 0.0,
                high=axis.at(drift.accuracy_drop_points_interval.high) if drift else 0.0,
            )
        )
    line = Tick(axis.at(limit), f"budget {limit:g}")
    return Forest(width, places.height, axis, places.names_end, axis.at(0.0), line, rows)


def _kind(check: Check | None) -> str:
    return check.verdict.replace(" ", "-") if check else "not-judged"


def _html(report: Report) -> Values | None:
    charts = in_every_width(forest, report)
    return {"forests": charts} if charts else None


def _markdown(report: Report) -> Values:
    return {}


SECTION = Section(order=40, title="Accuracy drop", html=_html, markdown=_markdown)
