"""This module judges by rules whether the newer of two reports is worse: the gate ``tledge compare --fail-on``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from tledge.bench.latency import UNSTEADY
from tledge.errors import InputError, unknown
from tledge.records import Latency, Record, Report, Row
from tledge.reporting.compare import (
    Change,
    Quantity,
    ReportComparison,
    compare_reports,
    noise,
    what_makes_photos_differ,
    what_makes_targets_differ,
)

RULES: dict[str, Quantity] = {
    "accuracy": "accuracy",
    "agreement": "agreement",
    "latency": "p50_latency_ms",
    "size": "size_bytes",
}
MAX_GROWTH = 0.01
"""A file may grow by this fraction: the names and the metadata inside it change from build to build."""
MAX_SLOWDOWN = 0.10
"""A median latency may rise by this fraction, however low the noise floor. The floor is seen within one verification;
from one to the next the same machine also changes its clock rate and what else it runs."""
FOUND_SLOWDOWN = 0.20
"""A latency is judged only where a slowdown of this fraction would be seen."""
_AGAIN = "Verify both again, one right after the other, when it is quiet"
Verdict = Literal["passed", "failed", "not comparable"]


class Finding(Record):
    """This record judges one artifact by one rule."""

    artifact: str
    verdict: Verdict
    reason: str


class RuleVerdict(Record):
    """This record has the verdict of one rule."""

    rule: str
    verdict: Verdict
    obstacles: list[str] = Field(
        description="These are the reasons why no artifact can be judged by the rule. The list is empty if each was looked at."
    )
    findings: list[Finding] = Field(description="This has one finding for each artifact of BASE.")


class Gate(Record):
    """This record has the verdict of all rules: failed where one failed, else not comparable where one is that."""

    verdict: Verdict
    rules: list[RuleVerdict]


class GatedComparison(ReportComparison):
    """``tledge compare --fail-on RULES --json`` prints this record."""

    gate: Gate


def parse_rules(text: str) -> list[str]:
    """Return the rules of a list such as ``accuracy,size``, each once.

    Raises InputError, with the nearest match, for an unknown rule, and for a list without any.
    """
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise InputError(
            f"--fail-on {text!r} names no rule: use one or more of {', '.join(RULES)}, with commas between"
        )
    for name in names:
        if name not in RULES:
            raise unknown("rule of --fail-on", name, RULES)
    return names


def judge_reports(before: Report, after: Report, rules: Sequence[str]) -> GatedComparison:
    """Compare two reports, and judge by each of ``rules`` whether an artifact of ``after`` is worse."""
    comparison = compare_reports(before, after)
    judged = [_judge_rule(rule, before, after, comparison) for rule in rules]
    gate = Gate(verdict=_worst([rule.verdict for rule in judged]), rules=judged)
    return GatedComparison(**comparison.model_dump(), gate=gate)


def what_is_not_comparable(gate: Gate) -> list[str]:
    """List what could not be judged, each with its rule and artifact and the reason."""
    return [
        said
        for rule in gate.rules
        for said in (
            *(f"{rule.rule}: {obstacle}" for obstacle in rule.obstacles),
            *(
                f"{rule.rule} of {one.artifact}: {one.reason}"
                for one in rule.findings
                if one.verdict == "not comparable"
            ),
        )
    ]


def _judge_rule(rule: str, before: Report, after: Report, comparison: ReportComparison) -> RuleVerdict:
    obstacles = what_makes_targets_differ(before, after)
    if rule in ("accuracy", "agreement"):
        obstacles += what_makes_photos_differ(before, after)
    if obstacles:
        return RuleVerdict(rule=rule, verdict="not comparable", obstacles=obstacles, findings=[])
    changes = {one.artifact: one.change(RULES[rule]) for one in comparison.artifacts}
    new = {row.artifact: row for row in after.rows}
    findings = []
    for row in before.rows:
        name = row.artifact
        if name not in new:
            verdict, reason = _not_comparable("it is in BASE, and not in NEW")
        elif changes[name].outcome == "not compared":
            verdict, reason = _not_both(row, new[name], changes[name])
        else:
            verdict, reason = _judge(rule, row, new[name], changes[name], noise(before, after, row))
        findings.append(Finding(artifact=name, verdict=verdict, reason=reason))
    return RuleVerdict(
        rule=rule, verdict=_worst([finding.verdict for finding in findings]), obstacles=[], findings=findings
    )


def _not_both(old: Row, new: Row, change: Change) -> tuple[Verdict, str]:
    """Judge an artifact that has no figure in one of the reports, or none that can be compared."""
    if old.error is not None:
        return "passed", "it did not run in BASE, so that nothing can be worse"
    if new.error is not None:
        return "failed", f"it ran in BASE, and does not in NEW: {new.error}"
    return _not_comparable(change.reason)


def _judge(rule: str, old: Row, new: Row, change: Change, floor: float | None) -> tuple[Verdict, str]:
    """Judge a figure that both reports hold."""
    if rule == "size":
        return _judge_size(old.size_bytes, new.size_bytes)
    if rule == "latency":
        return _judge_latency(old.latency, new.latency, change, floor)
    if missing := _without(("BASE", old.answers), ("NEW", new.answers)):
        return _not_comparable(f"{missing} does not say what each photo was answered: verify that run again")
    span, points = change.change_interval, 100 * (change.change or 0.0)
    between = f" ({100 * span.low:+.2f} to {100 * span.high:+.2f})" if span else ""
    return "failed" if change.outcome == "worse" else "passed", f"{points:+.2f} points{between}, {change.reason}"


def _judge_size(before: int, after: int) -> tuple[Verdict, str]:
    growth = after / before - 1
    seen = f"{after / 1e6:.3f} MB, {growth:+.1%} from {before / 1e6:.3f} MB; up to {MAX_GROWTH:+.0%} passes"
    return "failed" if growth > MAX_GROWTH else "passed", seen


def _judge_latency(
    before: Latency | None, after: Latency | None, change: Change, floor: float | None
) -> tuple[Verdict, str]:
    """Judge a ratio of latencies; what is not precise enough to find a regression is not comparable."""
    ratio, span = change.change, change.change_interval
    if before is None or after is None or ratio is None or span is None or floor is None:
        return _not_comparable(change.reason)
    if missing := _without(("BASE", before.reference_ms), ("NEW", after.reference_ms)):
        return _not_comparable(f"{missing} does not say how fast its machine was: verify that run again")
    if floor > UNSTEADY:
        return _not_comparable(
            f"its machine was too unsteady: the noise floor is {floor:.1%}, above {UNSTEADY:.0%}. {_AGAIN}"
        )
    limit = 1 + max(floor, MAX_SLOWDOWN)
    seen = (
        f"median latency x{ratio:.3f} ({span.low:.3f} to {span.high:.3f}), {change.reason}; up to x{limit:.3f} passes"
    )
    is_narrow = span.high / span.low <= 1 + UNSTEADY
    if change.outcome == "worse" and (span.low > limit or (is_narrow and ratio > limit)):
        return "failed", seen
    if ratio <= limit and span.high < 1 + FOUND_SLOWDOWN:
        return "passed", seen
    return _not_comparable(f"{seen}; so wide an interval leaves it open. {_AGAIN}")


def _without(*pairs: tuple[str, object]) -> str:
    """Return the names of what is None, as ``BASE and NEW``; an empty text where nothing is."""
    return " and ".join(name for name, value in pairs if value is None)


def _not_comparable(reason: str) -> tuple[Verdict, str]:
    return "not comparable", reason


def _worst(verdicts: Sequence[Verdict]) -> Verdict:
    return next((verdict for verdict in ("failed", "not comparable") if verdict in verdicts), "passed")
