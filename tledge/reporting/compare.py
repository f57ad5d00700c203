"""These pure functions compare two reports: what got better, what got worse, and what is inside noise."""

from __future__ import annotations

import math
from itertools import chain
from pathlib import PurePath
from typing import Literal

from pydantic import Field

from tledge.bench.latency import SAME_SPEED
from tledge.records import Drift, Interval, Latency, Record, Report, Row
from tledge.statistics import difference_interval_points

Outcome = Literal["better", "worse", "inside noise", "same", "not compared"]
Quantity = Literal["accuracy", "agreement", "accuracy_drop_points", "p50_latency_ms", "size_bytes"]
_RESAMPLES = 4999


class Change(Record):
    """A change compares one figure of an artifact between two reports."""

    quantity: Quantity
    before: float | None
    after: float | None
    change: float | None = Field(
        description="This is the value in NEW minus the value in BASE. For p50_latency_ms it is NEW divided by BASE, and "
        "if the machine changed its speed, the smaller of the changes with and without that. The value is None if the "
        "figure is not compared."
    )
    change_interval: Interval | None = Field(
        description="This is the 95% interval of the change. For p50_latency_ms of a machine that changed its speed, it "
        "covers the change with and without that. The value is None if the figure is exact or not compared."
    )
    outcome: Outcome
    reason: str


class ArtifactComparison(Record):
    """An artifact that both reports hold is compared here, figure by figure."""

    artifact: str
    verdict_before: str
    verdict_after: str
    changes: list[Change]

    def change(self, quantity: Quantity) -> Change:
        """Return the change of one figure."""
        return next(change for change in self.changes if change.quantity == quantity)


class ReportComparison(Record):
    """``tledge compare --json`` prints this record. Report BASE is before, and report NEW is after."""

    schema_version: int = 2
    base_run: str
    new_run: str
    same_test_split: bool
    latency_comparable: bool
    warnings: list[str] = Field(description="These sentences say what makes the two reports hard to compare.")
    artifacts: list[ArtifactComparison]
    only_in_base: list[str]
    only_in_new: list[str]


def compare_reports(before: Report, after: Report) -> ReportComparison:
    """Compare every artifact that both reports hold, in the order of the first report.

    Artifacts are matched by their names (``FORMAT on RUNTIME``). The others are listed by name.
    """
    second = {row.artifact: row for row in after.rows}
    first = {row.artifact for row in before.rows}
    shared = [(row, second[row.artifact]) for row in before.rows if row.artifact in second]
    originals = before.original.cpu_latency, after.original.cpu_latency
    slower = _slower([originals, *((old.latency, new.latency) for old, new in shared)])
    differences = [_what_makes_latency_differ(before, after, *rows) for rows in shared]
    unlike = what_makes_photos_differ(before, after)
    return ReportComparison(
        base_run=before.run,
        new_run=after.run,
        same_test_split=before.test_split_sha256 == after.test_split_sha256,
        latency_comparable=not any(differences),
        warnings=_warnings(before, after, list(dict.fromkeys(chain.from_iterable(differences))), slower),
        artifacts=[
            ArtifactComparison(
                artifact=old.artifact,
                verdict_before=old.verdict,
                verdict_after=new.verdict,
                changes=[
                    *_shares(old, new, unlike),
                    _latency(old, new, noise(before, after, old), differing, slower),
                    _size(old, new),
                ],
            )
            for (old, new), differing in zip(shared, differences, strict=True)
        ],
        only_in_base=[row.artifact for row in before.rows if row.artifact not in second],
        only_in_new=[row.artifact for row in after.rows if row.artifact not in first],
    )


def what_makes_photos_differ(before: Report, after: Report) -> list[str]:
    """Say why answers can't be paired photo by photo; return an empty list where both answer the same questions."""
    made = []
    if before.test_split_sha256 != after.test_split_sha256:
        made.append("other test photos in NEW than in BASE")
    if sorted(before.labels) != sorted(after.labels):
        made.append("other labels in NEW than in BASE")
    return made


def what_makes_targets_differ(before: Report, after: Report) -> list[str]:
    """Say in what the targets differ, their budgets and the folder of their file apart; an empty list if in nothing."""
    one, other = before.target, after.target
    return _differences(
        ("target", PurePath(one.name).name, PurePath(other.name).name),
        ("threads", one.threads, other.threads),
        ("architectures of the target", one.architectures, other.architectures),
        ("CPU of the target", one.cpu_contains, other.cpu_contains),
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


def _shares(before: Row, after: Row, unlike: list[str]) -> list[Change]:
    """Compare accuracy, agreement and drop. Where both answered the same photos, the first two are paired by photo."""
    old, new = before.drift, after.drift
    if old is None or new is None:
        missing = "it did not run in " + " and in ".join(
            name for name, drift in (("BASE", old), ("NEW", new)) if drift is None
        )
        shares: tuple[Quantity, ...] = ("accuracy", "agreement", "accuracy_drop_points")
        return [
            _not_compared(name, getattr(old, name) if old else None, getattr(new, name) if new else None, missing)
            for name in shares
        ]
    unpaired = "; ".join(unlike) or "the same photos, compared as if they were others"
    answers = before.answers, after.answers
    wrong = changed = None
    if not unlike and answers[0] and answers[1] and old.num_photos == new.num_photos:
        wrong, changed = (answers[0].wrong, answers[1].wrong), (answers[0].changed, answers[1].changed)
    drop = difference_interval(
        old.accuracy_drop_points,
        old.accuracy_drop_points_interval,
        new.accuracy_drop_points,
        new.accuracy_drop_points_interval,
    )
    return [
        _share("accuracy", old, new, wrong, unpaired),
        _share("agreement", old, new, changed, unpaired),
        Change(
            quantity="accuracy_drop_points",
            before=old.accuracy_drop_points,
            after=new.accuracy_drop_points,
            change=new.accuracy_drop_points - old.accuracy_drop_points,
            change_interval=drop,
            outcome=_judge(drop, more_is_better=False),
            reason=unpaired,
        ),
    ]


def _share(
    quantity: Literal["accuracy", "agreement"],
    old: Drift,
    new: Drift,
    misses: tuple[list[int], list[int]] | None,
    unpaired: str,
) -> Change:
    """Compare a share of photos by those that miss it in each report, or by both intervals where they are not known."""
    before, after = getattr(old, quantity), getattr(new, quantity)
    if misses is None:
        intervals = (getattr(old, f"{quantity}_interval"), getattr(new, f"{quantity}_interval"))
        interval, reason = difference_interval(before, intervals[0], after, intervals[1]), unpaired
    else:
        first, second = map(set, misses)
        lost, won = len(second - first), len(first - second)
        drop = difference_interval_points(lost, won, new.num_photos)
        interval = Interval(low=-drop.high / 100, high=-drop.low / 100)
        reason = f"paired photo by photo: {lost} lost and {won} won of {new.num_photos:,}"
    return Change(
        quantity=quantity,
        before=before,
        after=after,
        change=after - before,
        change_interval=interval,
        outcome=_judge(interval, more_is_better=True),
        reason=reason,
    )


def _judge(interval: Interval, *, more_is_better: bool) -> Outcome:
    if interval.low <= 0 <= interval.high:
        return "inside noise"
    return "better" if (interval.low > 0) == more_is_better else "worse"


def _latency(before: Row, after: Row, floor: float | None, differences: list[str], slower: float) -> Change:
    """Compare a latency. Where the machine took ``slower`` times its time for the same work, both readings count.

    It is not known how much of that slowdown the artifact saw. The interval therefore reaches from the ratio as measured
    to the ratio at equal speed, and the change is the one of the two that is nearer to none.
    """
    old, new = before.latency, after.latency
    p50s = (old.p50_ms if old else None, new.p50_ms if new else None)
    if old is None or new is None:
        return _not_compared("p50_latency_ms", *p50s, "it was not timed in both")
    if differences:
        return _not_compared("p50_latency_ms", *p50s, "; ".join(differences))
    if floor is None:
        return _not_compared("p50_latency_ms", *p50s, "a report has no noise floor at this thread count")
    ratio, interval = _ratio(old, new)
    reason = f"measured at different times; up to {floor:.1%} is noise on the noisier of the two"
    if slower != 1.0:
        readings = sorted((ratio, ratio / slower), key=lambda one: abs(math.log(one)))
        low, high = interval.low * min(1.0, 1 / slower), interval.high * max(1.0, 1 / slower)
        ratio, interval = readings[0], Interval(low=low, high=high)
        reason += f"; x{readings[0]:.3f} or x{readings[1]:.3f}, as the machine took x{slower:.2f} of its time for the same work"
    outcome: Outcome = "inside noise"
    if interval.high < 1 and ratio < 1 / (1 + floor):
        outcome = "better"
    elif interval.low > 1 and ratio > 1 + floor:
        outcome = "worse"
    return Change(
        quantity="p50_latency_ms",
        before=old.p50_ms,
        after=new.p50_ms,
        change=ratio,
        change_interval=interval,
        outcome=outcome,
        reason=reason,
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


def noise(before: Report, after: Report, row: Row) -> float | None:
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
    quantity: Quantity,
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


def _what_makes_latency_differ(before: Report, after: Report, old: Row, new: Row) -> list[str]:
    """Say why an artifact's latencies can't be compared; return an empty list where they can."""
    one, other = old.machine or before.machine, new.machine or after.machine
    found = _differences(
        ("CPU", one.cpu, other.cpu),
        ("architecture", one.architecture, other.architecture),
        ("cores", one.logical_cores, other.logical_cores),
        ("frequency governor", one.governor, other.governor),
    ) + what_makes_targets_differ(before, after)
    if before.protocol and after.protocol:
        pinned = [len(protocol.pinned_cores or ()) for protocol in (before.protocol, after.protocol)]
        found += _differences(
            ("protocol", before.protocol.name, after.protocol.name),
            ("number of cores that processes are pinned to", pinned[0], pinned[1]),
        )
    return found


def _slower(pairs: list[tuple[Latency | None, Latency | None]]) -> float:
    """Return how many times its time the machine took for the reference work, NEW over BASE; exactly 1 up to 5%.

    One process shows the speed by chance only: the geometric mean over all of them steadies it.
    """
    logs = [
        math.log(new.reference_ms / old.reference_ms)
        for old, new in pairs
        if old and new and old.reference_ms and new.reference_ms
    ]
    slower = math.exp(sum(logs) / len(logs)) if logs else 1.0
    return slower if max(slower, 1 / slower) > 1 + SAME_SPEED else 1.0


def _differences(*pairs: tuple[str, object, object]) -> list[str]:
    return [f"another {name} ({one}, then {two})" for name, one, two in pairs if one != two]


def _warnings(before: Report, after: Report, differences: list[str], slower: float) -> list[str]:
    made = []
    if differences:
        made.append(f"latency is not compared: {'; '.join(differences)}")
    elif slower != 1.0:
        made.append(
            f"the machine changed its speed: the same piece of work took x{slower:.2f} of its time in BASE. Each change of "
            "latency is shown with the part of it that this leaves"
        )
    if before.test_split_sha256 != after.test_split_sha256:
        made.append("the test photos differ: an accuracy difference is one of models and of photos")
    if sorted(before.labels) != sorted(after.labels):
        made.append("the labels differ: these models do not answer the same question")
    if before.target.budget != after.target.budget:
        made.append("the budgets differ: a verdict may have changed with them")
    if before == after:
        made.append("both are one and the same report: nothing can differ")
    elif before.manifest_sha256 == after.manifest_sha256:
        made.append("both reports are of one build: what differs is the export or the measurement")
    if before.machine.system != after.machine.system:
        made.append(f"another operating system ({before.machine.system}, then {after.machine.system})")
    versions = before.library_versions, after.library_versions
    changed = [name for name in versions[0] if versions[0][name] != versions[1].get(name, versions[0][name])]
    if changed:
        told = ", ".join(f"{name} ({versions[0][name]}, then {versions[1][name]})" for name in changed)
        made.append(f"other versions of libraries: {told}")
    return made
