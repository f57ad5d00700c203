"""This section shows how long one photo takes: distributions, figures at every thread count, and speed-ups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tledge.records import Latency, Report, Row, Speedup
from tledge.reporting.axis import Axis, Tick, log_axis
from tledge.reporting.charts import ChartRows, in_every_width
from tledge.reporting.section import Section, Values
from tledge.reporting.wording import number, short_names


@dataclass(frozen=True)
class Band:
    """A band is the stretch between two percentiles, in pixels. ``depth`` is 0 for the outermost band."""

    x: float
    width: float
    depth: int


@dataclass(frozen=True)
class Strip:
    """A strip draws one latency distribution around the height ``y``, in pixels."""

    name: str
    y: float
    text_y: float
    text: str
    bands: list[Band]
    median: float
    p99: float


@dataclass(frozen=True)
class Strips:
    """This chart shows latency distributions, one below the other."""

    width: int
    height: int
    axis: Axis
    names_end: float
    limit: Tick
    rows: list[Strip]


_BANDS = (1, 2, 5)  # indexes in quantiles_ms from either end, for the percentiles 5-95, 10-90 and 25-75


def strips(report: Report, width: int) -> Strips | None:
    """Lay out the latency distributions at the target's thread count; return None where nothing was timed."""
    names = short_names(report.rows)
    timed = [(names[row.artifact], row.latency) for row in report.rows if row.latency]
    if report.original.cpu_latency:
        timed.insert(0, ("original", report.original.cpu_latency))
    if not timed:
        return None
    places = ChartRows(width, len(timed))
    limit = report.target.budget.max_p95_latency_ms
    values = [end for _, latency in timed for end in (latency.quantiles_ms[_BANDS[0]], latency.p99_ms)]
    axis = log_axis([limit, *values], *places.ends)
    rows = []
    for index, (name, latency) in enumerate(timed):
        rows.append(_strip(name, latency, axis, *places.at(index)))
    line = Tick(axis.at(limit), f"p95 budget {limit:g}")
    return Strips(width, places.height, axis, places.names_end, line, rows)


def _strip(name: str, latency: Latency, axis: Axis, y: float, text_y: float) -> Strip:
    quantiles = latency.quantiles_ms
    bands = []
    for depth, index in enumerate(_BANDS):
        low, high = axis.at(quantiles[index]), axis.at(quantiles[-1 - index])
        bands.append(Band(low, round(max(1.0, high - low), 1), depth))
    text = f"p50 {number(latency.p50_ms)}, p95 {number(latency.p95_ms)} ms"
    return Strip(name, y, text_y, text, bands, axis.at(latency.p50_ms), axis.at(latency.p99_ms))


@dataclass(frozen=True)
class Timing:
    """A timing is the latency of an artifact or of the original at one thread count, with its speed-ups."""

    name: str
    latency: Latency
    peak_memory_mb: float | None
    speedups: list[Speedup]


def timings(report: Report) -> list[Timing]:
    """Return every latency that was measured, the original's first and then each artifact's.

    For each of them the target's thread count comes first.
    """
    names, original = short_names(report.rows), report.original
    subjects: list[tuple[str, list[Latency], float | None, Row | None]] = [
        ("original", _latencies(original.cpu_latency, original.cpu_thread_sweep), original.peak_memory_mb, None)
    ]
    subjects += [
        (names[row.artifact], _latencies(row.latency, row.thread_sweep), row.peak_memory_mb, row) for row in report.rows
    ]
    return [
        Timing(
            name,
            latency,
            memory,
            [one for one in row.speedups if one.num_threads == latency.num_threads] if row else [],
        )
        for name, latencies, memory, row in subjects
        for latency in latencies
    ]


def _latencies(first: Latency | None, sweep: Sequence[Latency]) -> list[Latency]:
    return [first, *sweep] if first else list(sweep)


def _html(report: Report) -> Values | None:
    measured = timings(report)
    return {"timings": measured, "strips": in_every_width(strips, report)} if measured else None


SECTION = Section(order=70, title="Latency", html=_html)
