"""What the sections of classes show of many: those that changed, the worst first, and all on request."""

from __future__ import annotations

import re

import numpy as np

from reporting.samples import drift, sample_report
from tledge.records import Report
from tledge.reporting import html
from tledge.reporting.sections import classes, confusion

NAMES = [f"class {index}" for index in range(60)]


def _tables(report: Report, kind: str) -> list[list[str]]:
    """The classes of every table of a kind, from top to bottom."""
    found = re.findall(rf'<table class="{kind}">.*?<tbody>(.*?)</tbody>', html.render(report), re.DOTALL)
    return [re.findall(r'scope="row">(.*?)</th>', body) for body in found]


def _changed(report: Report) -> set[str]:
    flips = [(one.label, one.flips) for row in report.rows if row.drift for one in row.drift.per_class]
    return {label for label, one in flips if one.right_to_wrong + one.wrong_to_right + one.wrong_to_wrong}


def test_the_worst_class_stands_first() -> None:
    rows = classes.class_rows(sample_report(labels=NAMES, num_photos=1200))
    drops = [max((cell.drift.recall_drop_points or 0) if cell.drift else 0 for cell in row.cells) for row in rows]
    assert drops == sorted(drops, reverse=True)
    assert max(cell.length for cell in rows[0].cells) == 30


def test_only_classes_that_changed_are_shown_and_all_are_one_click_away() -> None:
    report = sample_report(labels=NAMES, num_photos=300)
    changed = _changed(report)
    assert 0 < len(changed) < classes.MAX_SHOWN
    for kind in ("classes", "flips"):
        shown, every = _tables(report, kind)
        assert set(shown) == changed
        assert set(every) == set(NAMES)
    page = html.render(report)
    assert f"(changed: {len(changed)} of 60 classes)" in page
    assert page.count(" all 60 classes</summary>") == 2


def test_of_too_many_changed_classes_the_worst_are_shown() -> None:
    report = sample_report(labels=NAMES, num_photos=1200)
    changed = _changed(report)
    assert len(changed) > classes.MAX_SHOWN
    shown, every = _tables(report, "classes")
    assert shown == every[: classes.MAX_SHOWN]
    assert f"(changed: {len(changed)} of 60 classes, here the worst {classes.MAX_SHOWN})" in html.render(report)


def test_classes_that_all_changed_stand_in_one_table() -> None:
    report = sample_report()
    assert _changed(report) == set(report.labels)
    assert len(_tables(report, "classes")) == len(_tables(report, "flips")) == 1


def test_where_no_answer_changed_the_page_says_so() -> None:
    report = sample_report(labels=NAMES[:3], num_photos=90)
    truth = np.arange(90) % 3
    same = drift(truth, truth, truth, NAMES[:3])
    rows = [row.model_copy(update={"drift": same}) for row in report.rows[:2]]
    unchanged = report.model_copy(update={"rows": rows})
    assert "No artifact answers any photo of any class otherwise than the original." in html.render(unchanged)
    assert [set(table) for table in _tables(unchanged, "classes")] == [set(NAMES[:3])]


def test_too_many_classes_for_a_matrix_show_the_most_frequent_confusions() -> None:
    report = sample_report(labels=NAMES, num_photos=1200)
    drifts = [row.drift for row in report.rows if row.drift]
    answered = [report.original.confusions, *(one.confusions for one in drifts)]
    for matrix, counts in zip(confusion.matrices(report), answered, strict=True):
        assert matrix.cells == []
        wrong = [count for label, answer, count in counts or [] if label != answer]
        assert len(wrong) > confusion.MAX_CLASSES
        assert [one.count for one in matrix.confusions] == sorted(wrong, reverse=True)[: confusion.MAX_CLASSES]
