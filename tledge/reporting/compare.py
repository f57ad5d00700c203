"""These pure functions compare two reports: what got better, what got worse, and what is inside noise."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from tledge.records import Drift, Interval, Latency, Record, Report, Row

Outcome = Literal["better", "worse", "inside noise", "same", "not compared"]
_RESAMPLES = 4999


class Change(Record):
    """A change compares one figure of an artifact between two reports."""

    quantity: Literal["accuracy", "accuracy_drop_points", "p50_latency_ms", "size_bytes"]
    before: float | None
    after: float | None
    change: float | None = Field(
        description="This is the value in report B minus the value in report A. For p50_latency_ms it is B divided by A. "
        "The value is None if the figure is not compared."
    )
    change_interval: Interval | None = Field(
        description="This is the 95% interval of the change. The value is None if the figure is exact or not compared."
    )
    outcome: Outcome
    reason: str


class ArtifactComparison(Record):
    """An artifact that both reports hold is compared here, figure by figure."""

    artifact: str
    verdict_before: str
    verdict_after: str
    changes: list[Change]


class ReportComparison(Record):
    """``tledge compare --json`` prints this record. Report A is before, and report B is after."""

    schema_version: int = 1
    run_a: str
    run_b: str
    same_test_split: bool
    latency_comparable: bool
    warnings: list[str] = Field(description="These sentences say what makes the two reports hard to compare.")
    artifacts: list[ArtifactComparison]
    only_in_a: list[str]
    only_in_b: list[str]


def compare_reports(before: Report, after: Report) -> ReportComparison:
    """Compare every artifact that both reports hold, in the order of the first report.

    Artifacts are matched by their names (``FORMAT on RUNTIME``). The others are listed by name.
    """
    second = {row.artifact: row for row in after.rows}
    first = {row.artifact for row in before.rows}
    differences = _what_makes_latency_differ(before, after)
    same_split = before.test_split_sha256 == after.test_split_sha256
    return ReportComparison(
        run_a=before.run,
        run_b=after.run,
        same_test_split=same_split,
        latency_comparable=not differences,
        warnings=_warnings(before, after, differences),
        artifacts=[
            ArtifactComparison(
                artifact=row.artifact,
                verdict_before=row.verdict,
                verdict_after=second[row.artifact].verdict,
                changes=[
                    *_accuracies(row.drift, second[row.artifact].drift, same_split),
                    _latency(row, second[row.artifact], _noise(before, after, row), differences),
                    _size(row, second[row.artifact]),
                ],
            )
            for row in before.rows
            if row.artifact in second
        ],
        only_in_a=[row.artifact for row in before.rows if row.artifact not in second],
        only_in_b=[row.artifact for row in after.rows if row.artifact not in first],
    )


def difference_interval(before: float, before_95: Interval, after: float, after_95: Interval) -> Interval:
    """Return the 95% interval of ``after - before``, two independent estimates with known 95% intervals.

    This is the square-and-add method. For two proportions with Wilson intervals it is method 10 of Newcombe, Statistics
    in Medicine 17 (1998) 873-890; for any estimates see Zou and Donner, Statistics in Medicine 27 (2008) 1693-1702. For
    positively correlated estimates the interval still covers at 95%, but it is wider than it need be.
    """
    difference = after - before
    return Interval(
        low=difference - math.hypot(after - after_95.low, before_95.high - before),
        high=difference + math.hypot(after_95.high - after, before - before_95.low),
    )


def _accuracies(before: Drift | None, after: Drift | None, same_split: bool) -> list[Change]:
    if before is None or after is None:
        missing = "it did not run in " + " and in ".join(
            name for name, drift in (("A", before), ("B", after)) if drift is None
        )
        return [
            _not_compared("accuracy", before.accuracy if before else None, after.accuracy if after else None, missing),
            _not_compared(
                "accuracy_drop_points",
                before.accuracy_drop_points if before else None,
                after.accuracy_drop_points if after else None,
                missing,
            ),
        ]
    photos = "the same photos, compared as if they were others" if same_split else "other photos in B than in A"
    accuracy = difference_interval(before.accuracy, before.accuracy_interval, after.accuracy, after.accuracy_interval)
    drop = difference_interval(
        before.accuracy_drop_points,
        before.accuracy_drop_points_interval,
        after.accuracy_drop_points,
        after.accuracy_drop_points_interval,
    )
    return [
        Change(
            quantity="accuracy",
            before=before.accuracy,
            after=after.accuracy,
            change=after.accuracy - before.accuracy,
            change_interval=accuracy,
            outcome=_judge(accuracy, more_is_better=True),
            reason=photos,
        ),
        Change(
            quantity="accuracy_drop_points",
            before=before.accuracy_drop_points,
            after=after.accuracy_drop_points,
            change=after.accuracy_drop_points - before.accuracy_drop_points,
            change_interval=drop,
            outcome=_judge(drop, more_is_better=False),
            reason=photos,
        ),
    ]


def _judge(interval: Interval, *, more_is_better: bool) -> Outcome:
    if interval.low <= 0 <= interval.high:
        return "inside noise"
    return "better" if (interval.low > 0) == more_is_better else "worse"


def _latency(before: Row, after: Row, noise: float | None, differences: list[str]) -> Change:
    old, new = before.latency, after.latency
    p50s = (old.p50_ms if old else None, new.p50_ms if new else None)
    if old is None or new is None:
        return _not_compared("p50_latency_ms", *p50s, "it was not timed in both")
    if differences:
        return _not_compared("p50_latency_ms", *p50s, "; ".join(differences))
    if noise is None:
        return _not_compared("p50_latency_ms", *p50s, "a report has no noise floor at this thread count")
    ratio, interval = _ratio(old, new)
    outcome: Outcome = "inside noise"
    if interval.high < 1 and ratio < 1 / (1 + noise):
        outcome = "better"
    elif interval.low > 1 and ratio > 1 + noise:
        outcome = "worse"
    return Change(
        quantity="p50_latency_ms",
        before=old.p50_ms,
        after=new.p50_ms,
        change=ratio,
        change_interval=interval,
        outcome=outcome,
        reason=f"measured at different times; up to {noise:.1%} is noise on the noisier of the two",
    )


def _ratio(before: Latency, after: Latency) -> tuple[float, Interval]:
    """Return the ratio of the geometric means of the rounds' medians, ``after`` over ``before``, and its 95% interval.

    The interval is a percentile bootstrap over the rounds. The rounds of two verifications share nothing, so each side
    is drawn on its own (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 8.3). The seed is fixed.
    """
    import numpy as np

    draw = np.random.default_rng(0)
    old, new = np.log(before.round_medians_ms), np.log(after.round_medians_ms)
    means = [np.mean(side[draw.integers(0, len(side), (_RESAMPLES, len(side)))], axis=1) for side in (old, new)]
    low, high = np.exp(np.percentile(means[1] - means[0], [2.5, 97.5]))
    return float(np.exp(np.mean(new) - np.mean(old))), Interval(low=float(low), high=float(high))


def _noise(before: Report, after: Report, row: Row) -> float | None:
    """Return the larger noise floor of the two reports at the artifact's thread count; None where one is missing."""
    threads = row.latency.num_threads if row.latency else None
    floors = [
        max((one.floor for one in report.noise_floors if one.num_threads == threads), default=None)
        for report in (before, after)
    ]
    known = [floor for floor in floors if floor is not None]
    return max(known) if len(known) == len(floors) else None


def _size(before: Row, after: Row) -> Change:
    if not before.size_bytes or not after.size_bytes:
        return _not_compared("size_bytes", None, None, "a file's record can't be read")
    difference = after.size_bytes - before.size_bytes
    return Change(
        quantity="size_bytes",
        before=before.size_bytes,
        after=after.size_bytes,
        change=difference,
        change_interval=None,
        outcome="same" if difference == 0 else "better" if difference < 0 else "worse",
        reason="exact; the same file" if before.sha256 == after.sha256 else "exact",
    )


def _not_compared(
    quantity: Literal["accuracy", "accuracy_drop_points", "p50_latency_ms", "size_bytes"],
    before: float | None,
    after: float | None,
    reason: str,
) -> Change:
    return Change(
        quantity=quantity,
        before=before,
        after=after,
        change=None,
        change_interval=None,
        outcome="not compared",
        reason=reason,
    )


def _what_makes_latency_differ(before: Report, after: Report) -> list[str]:
    """Say why the latencies can't be compared; return an empty list where they can."""
    pairs = [
        ("CPU", before.machine.cpu, after.machine.cpu),
        ("architecture", before.machine.architecture, after.machine.architecture),
        ("cores", before.machine.logical_cores, after.machine.logical_cores),
        ("target", before.target.name, after.target.name),
        ("threads", before.target.threads, after.target.threads),
    ]
    return [f"another {name} ({one}, then {two})" for name, one, two in pairs if one != two]


def _warnings(before: Report, after: Report, differences: list[str]) -> list[str]:
    made = []
    if differences:
        made.append(f"latency is not compared: {'; '.join(differences)}")
    if before.test_split_sha256 != after.test_split_sha256:
        made.append("the test photos differ: an accuracy difference is one of models and of photos")
    if before.labels != after.labels:
        made.append("the labels differ: these models do not answer the same question")
    if before.target.budget != after.target.budget:
        made.append("the budgets differ: a verdict may have changed with them")
    if before.manifest_sha256 == after.manifest_sha256:
        made.append("both reports are of one build: what differs is the export or the measurement")
    protocols = [report.protocol.name if report.protocol else "none" for report in (before, after)]
    if not differences and protocols[0] != protocols[1]:
        made.append(f"latency was measured with another protocol ({protocols[0]}, then {protocols[1]})")
    if before.machine.governor != after.machine.governor:
        made.append(f"another frequency governor ({before.machine.governor}, then {after.machine.governor})")
    return made
