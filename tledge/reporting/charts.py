"""Where everything stands in the charts of report.html: numbers in, coordinates out. The templates only draw them.

Each chart is laid out for a given width, so that its text keeps its size on a phone and on a screen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tledge.records import Check, Latency, Report
from tledge.reporting.axis import Axis, Tick, log_axis, padded
from tledge.reporting.labels import Box, place
from tledge.reporting.wording import check_of, number, short_names, signed, signed_interval

WIDTHS = (720, 328)
"""Pixels of the charts: for a page of usual width, and for a phone of 360 pixels."""
_NARROW = 500
_MIN_POINTS = 1.0  # of accuracy on an axis: less would make a photo's difference look like a cliff
_LARGEST_RADIUS = 22.0


@dataclass(frozen=True)
class Bubble:
    """An artifact in the chart of accuracy, latency and size."""

    x: float
    y: float
    radius: float
    kind: str
    label: Box
    text: str
    is_led: bool  # a line leads from the bubble to its label


@dataclass(frozen=True)
class Scatter:
    """Accuracy against latency (or size, where latency was not measured); the bubbles' areas are sizes."""

    width: int
    height: int
    x_axis: Axis
    y_axis: Axis
    x_title: str
    x_limit: Tick
    y_limit: Tick
    bubbles: list[Bubble]


def scatter(report: Report, width: int) -> Scatter | None:
    """The chart of accuracy against latency against size; None where nothing ran.

    The line of the accuracy budget is the original's accuracy less the budget, the other one the p95 or size budget.
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
    height = 400 if width > _NARROW else 380
    budget = report.target.budget
    x_budget = budget.max_p95_latency_ms if timed else budget.max_size_mb
    floor = 100 * original.accuracy - budget.max_accuracy_drop_points
    x_axis = log_axis([x_budget, *(point[1] for point in points)], 46, width - 14)
    accuracies = [floor, *(100 * point[2] for point in points)]
    y_axis = Axis(*padded(accuracies, _MIN_POINTS), start=height - 48, end=14)
    x_limit = Tick(x_axis.at(x_budget), f"budget {x_budget:g}")
    y_limit = Tick(y_axis.at(floor), f"budget: {budget.max_accuracy_drop_points:g} below the original")
    return Scatter(
        width=width,
        height=height,
        x_axis=x_axis,
        y_axis=y_axis,
        x_title="p95 latency, ms (logarithmic)" if timed else "file size, MB (logarithmic)",
        x_limit=x_limit,
        y_limit=y_limit,
        bubbles=_bubbles(points, x_axis, y_axis, _written(x_axis, y_axis, x_limit, y_limit), width > _NARROW),
    )


def _written(x_axis: Axis, y_axis: Axis, x_limit: Tick, y_limit: Tick) -> list[Box]:
    """What the labels keep clear of: the axis title, the budget lines and their texts, as the template puts them."""
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


@dataclass(frozen=True)
class ForestRow:
    """A drop and its interval. ``y`` is the line's; the texts stand at ``text_y``."""

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
    """Drops with their intervals, against zero and the budget. On a phone the names stand above the lines."""

    width: int
    height: int
    axis: Axis
    names_end: float
    zero: float
    limit: Tick
    rows: list[ForestRow]


def forest(report: Report, width: int) -> Forest | None:
    """The accuracy drops of all artifacts; None where none ran."""
    names = short_names(report.rows)
    drifts = [row.drift for row in report.rows if row.drift]
    if not drifts:
        return None
    narrow = width <= _NARROW
    row_height, top = (46, 30) if narrow else (30, 34)
    limit = report.target.budget.max_accuracy_drop_points
    intervals = [drift.accuracy_drop_points_interval for drift in drifts]
    ends = [end for interval in intervals for end in (interval.low, interval.high)]
    low, high = padded([0.0, limit, *ends], _MIN_POINTS)
    start, end = (12.0, width - 12.0) if narrow else (160.0, width - 190.0)
    axis = Axis(low, high, start, end)
    rows = []
    for index, row in enumerate(report.rows):
        upper = top + index * row_height
        y, text_y = (upper + 28.0, upper + 12.0) if narrow else (upper + 15.0, upper + 19.0)
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
    return Forest(width, top + len(rows) * row_height + 44, axis, start - 12, axis.at(0.0), line, rows)


def _kind(check: Check | None) -> str:
    return check.verdict.replace(" ", "-") if check else "not-judged"


@dataclass(frozen=True)
class Band:
    """A stretch between two percentiles; ``depth`` counts from the outermost."""

    x: float
    width: float
    depth: int


@dataclass(frozen=True)
class Strip:
    """One latency distribution. ``y`` is its middle."""

    name: str
    y: float
    text_y: float
    text: str
    bands: list[Band]
    median: float
    p99: float


@dataclass(frozen=True)
class Strips:
    """Latency distributions, one below the other."""

    width: int
    height: int
    axis: Axis
    names_end: float
    limit: Tick
    rows: list[Strip]


_BANDS = (1, 2, 5)  # of quantiles_ms from either end: percentiles 5-95, 10-90, 25-75


def strips(report: Report, width: int) -> Strips | None:
    """The latency distributions at the target's thread count; None where nothing was timed."""
    names = short_names(report.rows)
    timed = [(names[row.artifact], row.latency) for row in report.rows if row.latency]
    if report.original.cpu_latency:
        timed.insert(0, ("original", report.original.cpu_latency))
    if not timed:
        return None
    narrow = width <= _NARROW
    row_height, top = (46, 30) if narrow else (30, 34)
    limit = report.target.budget.max_p95_latency_ms
    values = [end for _, latency in timed for end in (latency.quantiles_ms[_BANDS[0]], latency.p99_ms)]
    start, end = (12.0, width - 12.0) if narrow else (160.0, width - 190.0)
    axis = log_axis([limit, *values], start, end)
    rows = []
    for index, (name, latency) in enumerate(timed):
        upper = top + index * row_height
        y, text_y = (upper + 28.0, upper + 12.0) if narrow else (upper + 15.0, upper + 19.0)
        rows.append(_strip(name, latency, axis, y, text_y))
    line = Tick(axis.at(limit), f"p95 budget {limit:g}")
    return Strips(width, top + len(rows) * row_height + 44, axis, start - 12, line, rows)


def _strip(name: str, latency: Latency, axis: Axis, y: float, text_y: float) -> Strip:
    quantiles = latency.quantiles_ms
    bands = []
    for depth, index in enumerate(_BANDS):
        low, high = axis.at(quantiles[index]), axis.at(quantiles[-1 - index])
        bands.append(Band(low, round(max(1.0, high - low), 1), depth))
    text = f"p50 {number(latency.p50_ms)}, p95 {number(latency.p95_ms)} ms"
    return Strip(name, y, text_y, text, bands, axis.at(latency.p50_ms), axis.at(latency.p99_ms))
