"""This module shows a comparison of two reports as a table for a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tledge.printable import one_line
from tledge.records import Interval
from tledge.reporting.compare import Change, ReportComparison
from tledge.reporting.regressions import Gate
from tledge.reporting.wording import percent, signed, signed_interval

_NAMES = {
    "accuracy": "top-1 %",
    "agreement": "agreement %",
    "accuracy_drop_points": "drop, points",
    "p50_latency_ms": "p50 ms",
    "size_bytes": "MB",
}
_STYLES = {"better": "green", "worse": "bold red", "not compared": "yellow"}


def comparison_table(comparison: ReportComparison) -> RenderableType:
    """Return a table with one row for each figure of each artifact. Warnings and notes stand above it."""
    title = f"BASE: {comparison.base_run}, NEW: {comparison.new_run}"
    out = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("artifact", "", "BASE → NEW (95% interval)", "outcome", "why"):
        out.add_column(heading, overflow="fold", no_wrap=heading in ("", "outcome"))
    for artifact in comparison.artifacts:
        verdicts = f"{artifact.verdict_before} → {artifact.verdict_after}"
        changed = artifact.verdict_before != artifact.verdict_after
        out.add_row(
            Text(one_line(artifact.artifact), style="bold"), "verdict", verdicts, "changed" if changed else "same", ""
        )
        for change in artifact.changes:
            style = _STYLES.get(change.outcome, "")
            reason = Text(one_line(change.reason), style="dim")
            out.add_row("", _NAMES[change.quantity], _written(change), Text(change.outcome, style=style), reason)
    notes = [Text(f"warning: {one_line(warning)}", style="bold yellow") for warning in comparison.warnings]
    for name, alone in (("BASE", comparison.only_in_base), ("NEW", comparison.only_in_new)):
        if alone:
            notes.append(Text(one_line(f"only in {name}: {', '.join(alone)}")))
    return Group(Text(one_line(title), style="italic"), *notes, out)


def gate_lines(gate: Gate) -> list[str]:
    """Return a line for each rule, a line for each artifact that it judged, and a last line with the gate's verdict."""
    lines = []
    for rule in gate.rules:
        lines.append(f"rule {rule.rule}: {'; '.join([rule.verdict, *rule.obstacles])}")
        lines += [f"{rule.rule} of {one.artifact}: {one.verdict}: {one.reason}" for one in rule.findings]
    return [*lines, f"gate: {gate.verdict}"]


def _written(change: Change) -> str:
    """Write both figures and the interval of their change, as ``93.45 → 92.91 (-2.1 to +1.0)``."""
    if change.before is None and change.after is None:
        return ""
    interval = change.change_interval
    if change.quantity in ("accuracy", "agreement"):
        figures = [percent(value) for value in (change.before, change.after)]
        points = interval and Interval(low=100 * interval.low, high=100 * interval.high)
        between = f"{signed_interval(points)} points" if points else ""
    elif change.quantity == "accuracy_drop_points":
        figures = [signed(value) for value in (change.before, change.after)]
        between = signed_interval(interval)
    elif change.quantity == "p50_latency_ms":
        figures = ["" if value is None else f"{value:.2f}" for value in (change.before, change.after)]
        between = f"x{interval.low:.2f} to x{interval.high:.2f}" if interval else ""
    else:
        figures = ["" if value is None else f"{value / 1e6:.3f}" for value in (change.before, change.after)]
        between = ""
    return f"{figures[0] or '?'} → {figures[1] or '?'}" + (f" ({between})" if between else "")
