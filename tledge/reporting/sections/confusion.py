"""Which class was taken for which, by the original and by every artifact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tledge.records import Report
from tledge.reporting.section import Section, Values
from tledge.reporting.wording import short_names

MAX_CLASSES = 30
"""Classes of the largest matrix: above it, the most frequent confusions stand for all."""
_SHADES = 5


@dataclass(frozen=True)
class Cell:
    """A count of a confusion matrix. ``shade``: 0 to 5, the share of its row, so that 0 is none at all."""

    count: int
    shade: int
    is_right: bool


@dataclass(frozen=True)
class Confusion:
    """So many photos of one class were taken for another."""

    truth: str
    predicted: str
    count: int
    share: float


@dataclass(frozen=True)
class Matrix:
    """The confusion matrix of one artifact or of the original; ``cells`` is empty where it has too many classes."""

    name: str
    accuracy: float
    cells: list[list[Cell]]
    confusions: list[Confusion]


def matrices(report: Report) -> list[Matrix]:
    """The original's matrix first, then those of the artifacts that ran."""
    names = short_names(report.rows)
    drifts = [(names[row.artifact], row.drift) for row in report.rows if row.drift]
    if not drifts:
        return []
    first = drifts[0][1]
    made = [_matrix("original", first.original_accuracy, first.original_confusion_matrix, report.labels)]
    return made + [_matrix(name, drift.accuracy, drift.confusion_matrix, report.labels) for name, drift in drifts]


def _matrix(name: str, accuracy: float, counts: list[list[int]], labels: Sequence[str]) -> Matrix:
    cells = []
    if len(labels) <= MAX_CLASSES:
        cells = [
            [Cell(count, _shade(count, sum(line)), row == column) for column, count in enumerate(line)]
            for row, line in enumerate(counts)
        ]
    confusions = [
        Confusion(labels[row], labels[column], count, count / sum(line))
        for row, line in enumerate(counts)
        for column, count in enumerate(line)
        if count and row != column
    ]
    confusions.sort(key=lambda confusion: -confusion.count)
    return Matrix(name, accuracy, cells, confusions[:MAX_CLASSES])


def _shade(count: int, total: int) -> int:
    return -(-_SHADES * count // total) if total else 0


def _html(report: Report) -> Values | None:
    made = matrices(report)
    return {"matrices": made} if made else None


SECTION = Section(order=60, title="Confusion", html=_html)
