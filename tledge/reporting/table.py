"""The report as a table for a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tledge.records import Drift, Latency, Report, Row

_WIDE = 150  # columns of a terminal that shows everything in one table
_DRIFT = ("top-1 %", "drop pt", "agree %", "max |dp|", "mean |dp|")
_COST = ("MB", "load ms", "p50 ms", "p90 ms", "p95 ms", "p99 ms", "peak MB")


def table(report: Report, width: int) -> RenderableType:
    """One row an artifact, the original first; below it what failed, what was not judged, and the verdict.

    Where the terminal's ``width`` in columns is too small for one table, drift and cost stand in two.
    """
    threads = report.target["threads"]
    title = f"{report.run} on {report.target['name']}: {report.num_test_photos} test photos, batch 1, {threads} threads"
    rows = [_reference(report), _original(report), *(_artifact(row) for row in report.rows)]
    split = len(_DRIFT)
    parts: list[RenderableType] = []
    if width >= _WIDE:
        headings = ("artifact", "runtime", *_DRIFT, *_COST, "verdict")
        parts.append(_table(headings, [(verdict, [*names, *cells, verdict]) for names, cells, verdict in rows]))
    else:  # a file's format tells its runtime
        drift = [(verdict, [names[0], *cells[:split], verdict]) for names, cells, verdict in rows]
        cost = [(verdict, [names[0], *cells[split:]]) for names, cells, verdict in rows[1:]]
        parts += [_table(("artifact", *_DRIFT, "verdict"), drift), Text(), _table(("artifact", *_COST), cost)]
    notes = [Text(f"{row.format}: {row.error}", style="red") for row in report.rows if row.error]
    notes += [Text(line, style=style) for row in report.rows for line, style in _checks(row)]
    verdict = Text(f"verdict: {report.verdict}", style="bold green" if report.verdict == "passed" else "bold red")
    return Group(Text(title, style="italic"), *parts, *notes, verdict)


_Cells = tuple[tuple[str, str], list[str], str]


def _table(headings: tuple[str, ...], rows: list[tuple[str, list[str]]]) -> Table:
    """``rows``: each row's verdict, which colours it, and its cells."""
    out = Table(box=None, header_style="bold", pad_edge=False)
    for heading in headings:
        out.add_column(heading, justify="right" if heading in _DRIFT + _COST else "left", no_wrap=True)
    styles = {"passed": "green", "failed": "bold red"}
    for verdict, cells in rows:
        shown = [Text(cell, style=styles.get(cell, "")) for cell in cells]
        out.add_row(*shown, style="" if verdict in styles else "dim")
    return out


def _reference(report: Report) -> _Cells:
    original = report.original
    cells = [f"{100 * original.reference_accuracy:.2f}"] + [""] * (len(_DRIFT) + len(_COST) - 1)
    return (f"original, {original.device.kind}", "TensorFlow"), cells, "reference"


def _original(report: Report) -> _Cells:
    original = report.original
    cost = _cost(original.size_bytes, original.load_ms, original.cpu_latency, original.peak_memory_mb)
    return ("original, this CPU", "TensorFlow"), _drift(original.cpu_drift) + cost, ""


def _artifact(row: Row) -> _Cells:
    cost = _cost(row.size_bytes, row.load_ms, row.latency, row.peak_memory_mb)
    return (row.format, row.runtime), _drift(row.drift) + cost, row.verdict


def _drift(drift: Drift | None) -> list[str]:
    if drift is None:
        return [""] * len(_DRIFT)
    return [
        f"{100 * drift.accuracy:.2f}",
        f"{drift.accuracy_drop_points:+.2f}",
        f"{100 * drift.agreement:.2f}",
        f"{drift.max_abs_probability_difference:.4f}",
        f"{drift.mean_abs_probability_difference:.5f}",
    ]


def _cost(size_bytes: int, load_ms: float | None, latency: Latency | None, peak_memory_mb: float | None) -> list[str]:
    size = f"{size_bytes / 1e6:.3f}"
    if latency is None:
        return [size] + [""] * (len(_COST) - 1)
    times = (load_ms, latency.p50_ms, latency.p90_ms, latency.p95_ms, latency.p99_ms)
    return [size, *("" if value is None else f"{value:.2f}" for value in times), f"{peak_memory_mb or 0:.0f}"]


def _checks(row: Row) -> list[tuple[str, str]]:
    lines = []
    for check in row.checks:
        if check.verdict == "failed" and check.measured is not None:
            lines.append((f"{row.format}: {check.name} {check.limit:g}, measured {check.measured:.3f}", "red"))
        elif check.verdict == "not judged":
            lines.append((f"{row.format}: {check.name} not judged: {check.reason}", "yellow"))
    return lines
