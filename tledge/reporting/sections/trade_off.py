"""This section draws accuracy against latency against size, with one bubble for each artifact."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tledge.records import Report
from tledge.reporting.axis import Axis, Tick, log_axis, padded
from tledge.reporting.charts import MIN_POINTS, in_every_width, is_narrow
from tledge.reporting.labels import Box, place
from tledge.reporting.section import Section, Values
from tledge.reporting.wording import short_names

_LARGEST_RADIUS = 22.0


@dataclass(frozen=True)
class Bubble:
    """A bubble is an artifact or the original in the chart of accuracy, latency and size, in pixels."""

    x: float
    y: float
    radius: float
    kind: str
    label: Box
    text: str
    is_led: bool  # a line leads from the bubble to its label


@dataclass(frozen=True)
class Scatter:
    """This chart draws accuracy against p95 latency, or against size where latency was not measured.

    The areas of the bubbles are sizes.
    """

    width: int
    height: int
    x_axis: Axis
    y_axis: Axis
    is_timed: bool
    x_limit: Tick
    y_limit: Tick
    bubbles: list[Bubble]


def scatter(report: Report, width: int) -> Scatter | None:
    """Lay out the chart of accuracy, latency and size; return None where nothing ran.

    One line shows the accuracy budget: the original's accuracy minus the allowed drop. The other line shows the budget
    of p95 latency or of size.
    """
    rows = [row for row in report.rows if row.drift]
    if not rows:
        return None
    timed = any(row.latency for row in rows)
    points: list[tuple[str, float, float, int, str]] = []  # name, x, accuracy, size, kind
    names = short_names(report.rows)
    for row in rows:
        x = (row.latency.p95_ms if row.latency else None) if timed else row.size_bytes / 1e6
        if row.drift and x:
            points.append((names[row.artifact], x, row.drift.accuracy, row.size_bytes, row.verdict))
    original = report.original
    if not timed:
        points.append(("original", original.size_bytes / 1e6, original.accuracy, original.size_bytes, "original"))
    elif original.cpu_latency and original.cpu_drift:
        p95_ms, accuracy = original.cpu_latency.p95_ms, original.cpu_drift.accuracy
        points.append(("original", p95_ms, accuracy, original.size_bytes, "original"))
    height = 380 if is_narrow(width) else 400
    budget = report.target.budget
    x_budget = budget.max_p95_latency_ms if timed else budget.max_size_mb
    floor = 100 * original.accuracy - budget.max_accuracy_drop_points
    x_axis = log_axis([x_budget, *(point[1] for point in points)], 46, width - 14)
    accuracies = [floor, *(100 * point[2] for point in points)]
    y_axis = Axis(*padded(accuracies, MIN_POINTS), start=height - 48, end=14)
    x_limit = Tick(x_axis.at(x_budget), f"budget {x_budget:g}")
    y_limit = Tick(y_axis.at(floor), f"budget: {budget.max_accuracy_drop_points:g} below the original")
    return Scatter(
        width=width,
        height=height,
        x_axis=x_axis,
        y_axis=y_axis,
        is_timed=timed,
        x_limit=x_limit,
        y_limit=y_limit,
        bubbles=_bubbles(points, x_axis, y_axis, _written(x_axis, y_axis, x_limit, y_limit), not is_narrow(width)),
    )


def _written(x_axis: Axis, y_axis: Axis, x_limit: Tick, y_limit: Tick) -> list[Box]:
    """Return what labels keep clear of: the axis title, the budget lines and their texts, as the template has them."""
    top, wide = y_axis.end, x_axis.end - x_axis.start
    vertical = [Box(x_limit.at - 2, top, 4, y_axis.start - top), Box(x_limit.at - 70, top, 70, 16)]
    horizontal = [Box(x_axis.start, y_limit.at - 2, wide, 4), Box(x_axis.start, y_limit.at, 180, 18)]
    return [Box(x_axis.start, top, 60, 16), *vertical, *horizontal]


def _bubbles(
    points: Sequence[tuple[str, float, float, int, str]],
    x_axis: Axis,
    y_axis: Axis,
    written: Sequence[Box],
    with_sizes: bool,
) -> list[Bubble]:
    largest = max(size for _, _, _, size, _ in points)
    drawn = sorted(points, key=lambda point: -point[3])  # small ones on top of large ones
    circles = [
        (x_axis.at(x), y_axis.at(100 * accuracy), max(4.0, _LARGEST_RADIUS * math.sqrt(size / largest)))
        for _, x, accuracy, size, _ in drawn
    ]
    texts = [f"{name} {size / 1e6:.1f} MB" if with_sizes else name for name, _, _, size, _ in drawn]
    frame = Box(x_axis.start, y_axis.end, x_axis.end - x_axis.start, y_axis.start - y_axis.end)
    labels = place(texts, circles, frame, written)
    return [
        Bubble(x, y, round(radius, 1), kind, label.box, text, label.is_led)
        for (x, y, radius), (*_, kind), label, text in zip(circles, drawn, labels, texts, strict=True)
    ]


def _html(report: Report) -> Values | None:
    charts = in_every_width(scatter, report)
    return {"scatters": charts, "is_timed": charts[0].is_timed} if charts else None


SECTION = Section(order=30, title="Trade-off", html=_html)
