"""This section shows which classes the original and every artifact confuse."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tledge.records import Confusions, Report
from tledge.reporting.section import Section, Values
from tledge.reporting.wording import short_names

MAX_CLASSES = 30
"""A matrix is drawn for at most so many classes. With more classes, the most frequent confusions are listed."""
_SHADES = 5


@dataclass(frozen=True)
class Cell:
    """A cell holds a count of a confusion matrix.

    ``shade`` is 0 to 5 by the share of the cell in its row, rounded up: only a count of 0 has shade 0.
    """

    count: int
    shade: int
    is_right: bool


@dataclass(frozen=True)
class Confusion:
    """A confusion says how many photos of one class were taken for another, and their share of the class."""

    truth: str
    predicted: str
    count: int
    share: float


@dataclass(frozen=True)
class Matrix:
    """A matrix holds the confusions of one artifact or of the original.

    ``cells`` is empty where there are too many classes.
    """

    name: str
    accuracy: float
    cells: list[list[Cell]]
    confusions: list[Confusion]


def matrices(report: Report) -> list[Matrix]:
    """Return the original's matrix, then the matrices of the artifacts that ran; nothing where none ran."""
    names = short_names(report.rows)
    drifts = [(names[row.artifact], row.drift) for row in report.rows if row.drift]
    if not drifts:
        return []
    original, labels = report.original, report.labels
    made = [_matrix("original", original.accuracy, original.confusions or [], labels)]
    return made + [_matrix(name, drift.accuracy, drift.confusions, labels) for name, drift in drifts]


def _matrix(name: str, accuracy: float, counted: Confusions, labels: Sequence[str]) -> Matrix:
    of_class: Counter[int] = Counter()
    for actual, _, count in counted:
        of_class[actual] += count
    cells = []
    if len(labels) <= MAX_CLASSES:
        counts = {(actual, predicted): count for actual, predicted, count in counted}
        every = range(len(labels))
        cells = [
            [
                Cell(count, _shade(count, of_class[row]), row == column)
                for column in every
                for count in [counts.get((row, column), 0)]
            ]
            for row in every
        ]
    wrong = sorted((one for one in counted if one[0] != one[1]), key=lambda one: -one[2])
    confusions = [
        Confusion(labels[actual], labels[predicted], count, count / of_class[actual])
        for actual, predicted, count in wrong[:MAX_CLASSES]
    ]
    return Matrix(name, accuracy, cells, confusions)


def _shade(count: int, total: int) -> int:
    return -(-_SHADES * count // total) if total else 0


def _html(report: Report) -> Values | None:
    made = matrices(report)
    return {"matrices": made} if made else None


SECTION = Section(order=60, title="Confusion", html=_html)
