"""The report as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tledge.printable import one_line
from tledge.records import AttributionStep, Drift, Interval, Latency, LayerReport, Report
from tledge.reporting.wording import (
    counted,
    decibels,
    findings,
    float_speedup,
    megabytes,
    number,
    percent,
    short_names,
    signed,
    speedup,
    uncertified,
    verdict,
)

_WIDE = 150  # columns of a terminal that shows everything in one table
_DRIFT = ("top-1 % (95%)", "drop pt (95%)", "agree %", "mean |dp|")
_COST = ("MB", "p50 ms", "p90 ms", "against float", "peak MB")
_STYLES = {"certified": "green", "passed": "green", "failed": "bold red"}
_SHOWN_LAYERS = 5
_Cells = tuple[str, list[str], list[str], str]
"""Artifact, drift, cost, verdict."""


def table(report: Report, width: int, *, is_warned: bool = False) -> RenderableType:
    """One row an artifact, the original first; below it what failed, what was not judged, and what must be heard.

    Where the terminal's ``width`` in columns is too small for one table, drift and cost stand in two. ``is_warned``:
    the report's own warnings were said while it was measured, and are not said again.
    """
    threads = counted(report.target.threads, "thread")
    title = f"{report.run} on {report.target.name}: {counted(report.num_test_photos, 'test photo')}, batch 1, {threads}"
    rows = [_reference(report), *_original(report), *_artifacts(report)]
    parts: list[RenderableType] = []
    if width >= _WIDE:
        headings = ("artifact", *_DRIFT, *_COST, "verdict")
        parts.append(_table(headings, [[name, *drift, *cost, outcome] for name, drift, cost, outcome in rows]))
    else:
        parts.append(_table(("artifact", *_DRIFT), [[name, *drift] for name, drift, _, _ in rows]))
        cost_rows = [[name, *cost, outcome] for name, _, cost, outcome in rows[1:]]
        parts += [Text(), _table(("artifact", *_COST, "verdict"), cost_rows)]
    parts += [Text(one_line(line), style=style) for line, style in _notes(report, is_warned)]
    if report.attribution:
        parts += [Text(), Text("where it was lost", style="italic"), _attribution(report.attribution, width)]
    for layers in report.layers:
        parts += [Text(), *_layers(layers)]
    last = Text(one_line(f"verdict: {verdict(report)}"), style=f"bold {_STYLES[report.verdict]}")
    return Group(Text(one_line(title), style="italic"), *parts, Text(), last)


def _table(headings: tuple[str, ...], rows: list[list[str]]) -> Table:
    out = Table(box=None, header_style="bold", pad_edge=False)
    left = ("artifact", "verdict", "step", "from", "to", "layer", "operator", "note")
    for heading in headings:
        wraps = heading in ("artifact", "from", "to", "layer", "note")
        out.add_column(heading, justify="left" if heading in left else "right", no_wrap=not wraps, overflow="fold")
    for cells in rows:
        out.add_row(*(Text(one_line(cell), style=_STYLES.get(cell, "")) for cell in cells))
    return out


def _with_interval(value: str, interval: Interval, scale: float = 1.0) -> str:
    ends = [f"{scale * end:.1f}" for end in (interval.low, interval.high)]
    joint = " to " if any(end.startswith("-") for end in ends) else "-"
    return f"{value} ({joint.join(ends)})"


def _reference(report: Report) -> _Cells:
    original = report.original
    top1 = _with_interval(percent(original.accuracy), original.accuracy_interval, 100)
    return f"original, trained on {original.device.kind}", [top1, "", "", ""], [""] * len(_COST), "reference"


def _original(report: Report) -> Iterator[_Cells]:
    original = report.original
    if original.cpu_drift or original.cpu_latency:
        cost = _cost(original.size_bytes, original.cpu_latency, "", original.peak_memory_mb)
        yield "original, this CPU", _drift(original.cpu_drift), cost, ""


def _artifacts(report: Report) -> Iterator[_Cells]:
    names = short_names(report.rows)
    for row in report.rows:
        cost = _cost(row.size_bytes, row.latency, speedup(float_speedup(report, row)), row.peak_memory_mb)
        yield names[row.artifact], _drift(row.drift), cost, row.verdict


def _drift(drift: Drift | None) -> list[str]:
    if drift is None:
        return [""] * len(_DRIFT)
    return [
        _with_interval(percent(drift.accuracy), drift.accuracy_interval, 100),
        _with_interval(signed(drift.accuracy_drop_points), drift.accuracy_drop_points_interval),
        percent(drift.agreement),
        number(drift.mean_abs_probability_difference, 5),
    ]


def _cost(size_bytes: int, latency: Latency | None, against_float: str, peak_memory_mb: float | None) -> list[str]:
    p50, p90 = (latency.p50_ms, latency.p90_ms) if latency else (None, None)
    return [megabytes(size_bytes), number(p50), number(p90), against_float, number(peak_memory_mb, 0)]


def _notes(report: Report, is_warned: bool) -> Iterator[tuple[str, str]]:
    names = short_names(report.rows)
    for finding in findings(report, "failed"):
        yield finding.sentence, "red"
    for finding in findings(report, "not judged"):
        yield finding.sentence, "yellow"
    for finding in uncertified(report):
        yield finding.sentence, "dim"
    for row in report.rows:
        for warning in row.warnings:
            yield f"warning: {names[row.artifact]}: {warning}", "yellow"
    for warning in [] if is_warned else report.warnings:
        yield f"warning: {warning}", "yellow"
    best = report.choice.best
    yield f"best: {names.get(best, best) if best else 'none'} ({report.choice.reason})", "bold"
    failed = {row.artifact for row in report.rows if row.verdict == "failed"}  # their reasons stand above
    for lost in report.choice.others:
        if lost.artifact not in failed:
            yield f"not {names.get(lost.artifact, lost.artifact)}: {lost.reason}", "dim"


def _attribution(steps: list[AttributionStep], width: int) -> Table:
    """Each step by where it leads to, which names the artifact; a wide terminal shows where from, too."""
    rows = []
    for step in steps:
        figures = [signed(step.accuracy_drop_points), percent(step.agreement)]
        figures.append(number(step.mean_abs_probability_difference, 6))
        wide = [step.before, step.note] if width >= _WIDE else []
        rows.append([step.step, step.after, *figures, *wide])
        if step.note and not wide:
            rows.append(["", step.note, "", "", ""])
    headings = ("step", "to", "drop pt", "agree %", "mean |dp|")
    return _table((*headings, "from", "note") if width >= _WIDE else headings, rows)


def _layers(layers: LayerReport) -> Iterator[RenderableType]:
    title = f"worst layers of {layers.artifact} against {layers.against}, {counted(layers.num_photos, 'photo')}"
    yield Text(one_line(title), style="italic")
    rows = [
        [decibels(layer.own_sqnr_db), decibels(layer.sqnr_db), f"{layer.cosine:.5f}", layer.operator, layer.name]
        for layer in layers.layers[:_SHOWN_LAYERS]
    ]
    yield _table(("own SQNR dB", "SQNR dB", "cosine", "operator", "layer"), rows)
    if layers.note:
        yield Text(one_line(layers.note), style="dim")
