"""Two reports side by side: a difference counts only where it is more than noise."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console
from scipy.stats import binomtest

from reporting.samples import BROKEN, INT8, MEDIANS_MS, latency, sample_report, wilson
from tledge.records import Interval, Latency, Report
from tledge.reporting.compare import Change, ReportComparison, compare_reports, difference_interval
from tledge.reporting.compare_table import comparison_table
from tledge.statistics import difference_interval_points


def _with(report: Report, **change: object) -> Report:
    """The report with the int8 artifact changed."""
    rows = [row.model_copy(update=change) if row.artifact == INT8 else row for row in report.rows]
    return report.model_copy(update={"rows": rows})


def _change(comparison: ReportComparison, quantity: str) -> Change:
    (artifact,) = [one for one in comparison.artifacts if one.artifact == INT8]
    (change,) = [one for one in artifact.changes if one.quantity == quantity]
    return change


def _faster(factor: float, seed: int = 77) -> Latency:
    return latency(MEDIANS_MS[INT8] / factor, seed=seed)


def _shown(comparison: ReportComparison) -> str:
    out = io.StringIO()
    Console(file=out, width=300).print(comparison_table(comparison))
    return out.getvalue()


def test_a_report_against_itself_has_no_change() -> None:
    report = sample_report()
    comparison = compare_reports(report, report)
    outcomes = {change.outcome for artifact in comparison.artifacts for change in artifact.changes}
    assert outcomes == {"inside noise", "same", "not compared"}  # the last of the artifact that did not run
    assert comparison.same_test_split
    assert comparison.only_in_base == comparison.only_in_new == []


@pytest.mark.parametrize(("factor", "outcome"), [(1.5, "better"), (1 / 1.5, "worse"), (1.01, "inside noise")])
def test_a_latency_counts_as_changed_only_outside_the_noise(factor: float, outcome: str) -> None:
    report = sample_report()
    change = _change(compare_reports(report, _with(report, latency=_faster(factor))), "p50_latency_ms")
    assert change.outcome == outcome
    assert change.change == pytest.approx(1 / factor, rel=0.02)


def test_the_noisier_of_the_two_reports_sets_the_noise_of_a_latency() -> None:
    report = sample_report()
    loud = [floor.model_copy(update={"floor": 0.8}) for floor in report.noise_floors]
    faster = _with(report, latency=_faster(1.5))
    for before, after in (
        (report.model_copy(update={"noise_floors": loud}), faster),
        (report, faster.model_copy(update={"noise_floors": loud})),
    ):
        assert _change(compare_reports(before, after), "p50_latency_ms").outcome == "inside noise"
    no_floor = faster.model_copy(update={"noise_floors": []})
    assert _change(compare_reports(report, no_floor), "p50_latency_ms").outcome == "not compared"


@pytest.mark.parametrize("field", ["cpu", "architecture", "logical_cores"])
def test_latencies_of_different_machines_are_not_compared_and_that_is_said_first(field: str) -> None:
    report = sample_report()
    machine = report.machine.model_copy(update={field: 96 if field == "logical_cores" else "another"})
    comparison = compare_reports(report, report.model_copy(update={"machine": machine}))
    assert not comparison.latency_comparable
    change = _change(comparison, "p50_latency_ms")
    assert (change.outcome, change.change) == ("not compared", None)
    assert "warning: latency is not compared: another" in _shown(comparison).split("artifact")[0]


def test_latencies_for_different_targets_are_not_compared() -> None:
    report = sample_report()
    moved = report.model_copy(update={"target": report.target.model_copy(update={"name": "elsewhere/cpu"})})
    assert compare_reports(report, moved).latency_comparable
    for change in ({"name": "other"}, {"threads": 4}):
        other = report.model_copy(update={"target": report.target.model_copy(update=change)})
        assert _change(compare_reports(report, other), "p50_latency_ms").outcome == "not compared"


def test_without_answers_photo_by_photo_only_an_accuracy_far_away_counts() -> None:
    report = _with(sample_report(), answers=None)
    drift = report.rows[3].drift
    assert drift
    for accuracy, outcome in ((0.80, "worse"), (0.99, "better"), (drift.accuracy - 0.01, "inside noise")):
        interval = wilson(round(accuracy * 550), 550)
        moved = drift.model_copy(update={"accuracy": accuracy, "accuracy_interval": interval})
        change = _change(compare_reports(report, _with(report, drift=moved)), "accuracy")
        assert (change.outcome, change.reason) == (outcome, "the same photos, compared as if they were others")


@pytest.mark.parametrize(("photos", "quantity"), [("wrong", "accuracy"), ("changed", "agreement")])
def test_answers_to_the_same_photos_are_paired_and_those_to_others_are_not(photos: str, quantity: str) -> None:
    report = sample_report(num_photos=2000)
    answers = report.rows[3].answers
    assert answers
    missed = getattr(answers, photos)
    others = [photo for photo in range(2000) if photo not in missed]
    moved = answers.model_copy(update={photos: sorted([*missed[5:], *others[:25]])})
    after = _with(report, answers=moved)
    change = _change(compare_reports(report, after), quantity)
    assert (change.outcome, change.reason) == ("worse", "paired photo by photo: 25 lost and 5 won of 2,000")
    expected = difference_interval_points(25, 5, 2000)
    assert change.change_interval
    assert (-100 * change.change_interval.high, -100 * change.change_interval.low) == pytest.approx(
        (expected.low, expected.high)
    )
    for unlike in ({"test_split_sha256": "0" * 64}, {"labels": [*report.labels[1:], "lilies"]}):
        change = _change(compare_reports(report, after.model_copy(update=unlike)), quantity)
        assert (change.outcome, "in NEW than in BASE" in change.reason) == ("inside noise", True)


def test_a_larger_drop_is_worse() -> None:
    report = sample_report()
    drift = report.rows[3].drift
    assert drift
    for drop, outcome in ((9.0, "worse"), (-9.0, "better")):
        interval = Interval(low=drop - 1, high=drop + 1)
        moved = drift.model_copy(update={"accuracy_drop_points": drop, "accuracy_drop_points_interval": interval})
        assert _change(compare_reports(report, _with(report, drift=moved)), "accuracy_drop_points").outcome == outcome


def test_the_interval_of_a_difference_is_that_of_newcombes_published_example() -> None:
    # Newcombe 1998, table II, column (a): 56/70 - 48/80 by method 10 is 0.0524 to 0.3339.
    found = difference_interval(48 / 80, wilson(48, 80), 56 / 70, wilson(56, 70))
    assert (found.low, found.high) == (pytest.approx(0.0524, abs=5e-5), pytest.approx(0.3339, abs=5e-5))


def test_the_interval_of_a_difference_covers_the_true_one_nineteen_times_of_twenty() -> None:
    draw = np.random.default_rng(5)
    first, second = draw.binomial(300, 0.93, 2000), draw.binomial(300, 0.90, 2000)
    wilsons = {right: wilson(int(right), 300) for right in {*first.tolist(), *second.tolist()}}
    found = [
        difference_interval(a / 300, wilsons[a], b / 300, wilsons[b])
        for a, b in zip(first.tolist(), second.tolist(), strict=True)
    ]
    covered = sum(interval.low <= -0.03 <= interval.high for interval in found)
    assert binomtest(covered, 2000, 0.95).pvalue > 1e-4


@pytest.mark.parametrize(("size", "outcome"), [(2_690_584, "same"), (2_690_583, "better"), (2_690_585, "worse")])
def test_sizes_are_exact(size: int, outcome: str) -> None:
    report = sample_report()
    assert _change(compare_reports(report, _with(report, size_bytes=size)), "size_bytes").outcome == outcome


def test_artifacts_of_only_one_report_are_named() -> None:
    comparison = compare_reports(sample_report(), sample_report(broken=False))
    assert (comparison.only_in_base, comparison.only_in_new) == ([BROKEN], [])
    assert f"only in BASE: {BROKEN}" in _shown(comparison)
    assert f"only in NEW: {BROKEN}" in _shown(compare_reports(sample_report(broken=False), sample_report()))


def test_other_photos_other_labels_other_budgets_and_another_protocol_are_said() -> None:
    report = sample_report()
    assert report.protocol
    budget = report.target.budget.model_copy(update={"max_size_mb": 1.0})
    other = report.model_copy(
        update={
            "test_split_sha256": "0" * 64,
            "labels": ["a", "b"],
            "target": report.target.model_copy(update={"budget": budget}),
            "protocol": report.protocol.model_copy(update={"name": "quick"}),
        }
    )
    text = " ".join(compare_reports(report, other).warnings)
    for words in ("test photos differ", "labels differ", "budgets differ", "another protocol (standard, then quick)"):
        assert words in text


def test_an_artifact_that_did_not_run_is_not_compared_and_the_report_says_in_which() -> None:
    report = sample_report()
    change = _change(compare_reports(report, _with(report, drift=None, latency=None)), "accuracy")
    assert change.outcome == "not compared"
    assert change.reason == "it did not run in NEW"


def test_the_table_shows_both_figures_and_every_outcome() -> None:
    report = sample_report()
    text = _shown(compare_reports(report, _with(report, latency=_faster(2), size_bytes=3_000_000, verdict="failed")))
    assert "2.691 → 3.000" in text
    assert "passed → failed" in text
    for outcome in ("better", "worse", "same", "inside noise", "not compared"):
        assert outcome in text
