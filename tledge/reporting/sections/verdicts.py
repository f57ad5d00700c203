"""This section shows every artifact's verdict with its main figures and warnings, and which artifact is the best."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import RenderableType
from rich.text import Text

from tledge.printable import counted, one_line
from tledge.records import Check, Drift, Interval, Latency, Report
from tledge.reporting.section import Section, Values
from tledge.reporting.terminal import WIDE, plain_table
from tledge.reporting.wording import (
    float_speedup,
    gate,
    megabytes,
    number,
    original_speedup,
    percent,
    short_names,
    signed,
    speedup_text,
    verdict_text,
)

_DRIFT = ("top-1 % (95%)", "drop pt (95%)", "agree %", "mean |dp|")
_COST = ("MB", "p50 ms", "p90 ms", "against float", "peak MB")
_Cells = tuple[str, list[str], list[str], str]
"""A row has the artifact's name, the cells of drift, the cells of cost and the verdict."""


@dataclass(frozen=True)
class Finding:
    """A finding names gates with one verdict for one reason, and the artifacts for which that reason holds."""

    artifacts: tuple[str, ...]
    gates: tuple[str, ...]
    verdict: str
    reason: str

    @property
    def sentence(self) -> str:
        """Say what happened in one line. The reason of a gate holds its numbers."""
        gates = ", ".join(map(gate, self.gates))
        return f"{', '.join(self.artifacts)}: {gates} {self.verdict}: {one_line(self.reason)}"


def findings(report: Report, *verdicts: str) -> list[Finding]:
    """Return the checks that have one of these verdicts, as findings.

    Artifacts share a finding where gates, verdict and reason are equal. A failure has one artifact only.
    """
    names = short_names(report.rows)
    found: dict[tuple[str, str], tuple[Check, list[str]]] = {}
    for row in report.rows:
        for check in row.checks:
            if check.verdict not in verdicts:
                continue
            key = (check.name, row.artifact if check.verdict == "failed" else check.reason)
            found.setdefault(key, (check, []))[1].append(names[row.artifact])
    merged: dict[tuple[tuple[str, ...], str, str], list[str]] = {}
    for check, artifacts in found.values():
        merged.setdefault((tuple(artifacts), check.verdict, check.reason), []).append(check.name)
    return [Finding(who, tuple(gates), outcome, reason) for (who, outcome, reason), gates in merged.items()]


def _uncertified(report: Report) -> list[Finding]:
    """Return findings on drops that are inside the budget while their intervals are not."""
    return [finding for finding in findings(report, "passed") if "max_accuracy_drop_points" in finding.gates]


def _every_budget(report: Report) -> str:
    """Return ``every budget``, or ``every budget that was judged``.

    The second is returned where an artifact that did not fail has a check that was not judged.
    """
    kept = [check for row in report.rows if row.verdict != "failed" for check in row.checks]
    judged = all(check.verdict != "not judged" for check in kept)
    return "every budget" if judged else "every budget that was judged"


def _shared(report: Report) -> Values:
    """Return the variables of both templates, HTML and Markdown."""
    return {
        "verdict_line": verdict_text(report),
        "failed": findings(report, "failed"),
        "not_judged": findings(report, "not judged"),
        "uncertified": _uncertified(report),
        "float_speedups": {row.artifact: float_speedup(report, row) for row in report.rows},
    }


def _html(report: Report) -> Values:
    verdicts = [row.verdict for row in report.rows]
    return {
        **_shared(report),
        "num_kept": len(verdicts) - verdicts.count("failed"),
        "num_certified": verdicts.count("certified"),
        "every_budget": _every_budget(report),
        "original_speedups": {row.artifact: original_speedup(report, row) for row in report.rows},
    }


def _terminal(report: Report, width: int) -> Iterator[RenderableType]:
    """Yield a table with one row for each artifact, the original first, and notes below it.

    The notes say what failed and what was not judged, the warnings, and which artifact is the best. Where the terminal
    is too narrow for one table, drift and cost stand in two.
    """
    threads = counted(report.target.threads, "thread")
    title = f"{report.run} on {report.target.name}: {counted(report.num_test_photos, 'test photo')}, batch 1, {threads}"
    yield Text(one_line(title), style="italic")
    rows = [_reference(report), *_original(report), *_artifacts(report)]
    text, wraps = ("artifact", "verdict"), ("artifact",)
    if width >= WIDE:
        cells = [[name, *drift, *cost, outcome] for name, drift, cost, outcome in rows]
        yield plain_table(("artifact", *_DRIFT, *_COST, "verdict"), cells, text=text, wraps=wraps)
    else:
        cells = [[name, *drift] for name, drift, _, _ in rows]
        yield plain_table(("artifact", *_DRIFT), cells, text=text, wraps=wraps)
        yield Text()
        cells = [[name, *cost, outcome] for name, _, cost, outcome in rows[1:]]
        yield plain_table(("artifact", *_COST, "verdict"), cells, text=text, wraps=wraps)
    yield from (Text(one_line(line), style=style) for line, style in _notes(report))


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
        cost = _cost(row.size_bytes, row.latency, speedup_text(float_speedup(report, row)), row.peak_memory_mb)
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


def _notes(report: Report) -> Iterator[tuple[str, str]]:
    names = short_names(report.rows)
    for finding in findings(report, "failed"):
        yield finding.sentence, "red"
    for finding in findings(report, "not judged"):
        yield finding.sentence, "yellow"
    for finding in _uncertified(report):
        yield finding.sentence, "dim"
    for row in report.rows:
        for warning in row.warnings:
            yield f"warning: {names[row.artifact]}: {warning}", "yellow"
    for warning in report.warnings:
        yield f"warning: {warning}", "yellow"
    best = report.choice.best
    yield f"best: {names.get(best, best) if best else 'none'} ({report.choice.reason})", "bold"
    # The reasons of failed artifacts stand above.
    failed = {row.artifact for row in report.rows if row.verdict == "failed"}
    for lost in report.choice.others:
        if lost.artifact not in failed:
            yield f"not {names.get(lost.artifact, lost.artifact)}: {lost.reason}", "dim"


SECTION = Section(order=10, title="Verdicts", html=_html, markdown=_shared, terminal=_terminal)
