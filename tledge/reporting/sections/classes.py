"""This section shows what every artifact lost or won in each class."""

from __future__ import annotations

from dataclasses import dataclass

from tledge.records import ClassDrift, Drift, Flips, Report
from tledge.reporting.section import Section, Values

MAX_SHOWN = 30
"""At most so many changed classes are shown at once. Where there are more, the worst are shown, and all on request."""
_NUM_WORST = 5
_BAR = 30.0  # pixels of the longest bar to either side


@dataclass(frozen=True)
class ClassCell:
    """A cell shows the drop of one artifact in one class.

    ``start`` and ``length`` are its bar in pixels, between -30 (better) and 30 (worse).
    """

    drift: ClassDrift | None
    start: float
    length: float
    is_worse: bool
    is_significant: bool

    @property
    def num_flips(self) -> int:
        """Count the photos of the class that the artifact and the original answer differently."""
        found = self.drift.flips if self.drift else None
        return found.right_to_wrong + found.wrong_to_right + found.wrong_to_wrong if found else 0


@dataclass(frozen=True)
class ClassRow:
    """A row shows one class: its number of photos, the original's recall and every artifact's drop."""

    label: str
    num_photos: int
    original_recall: float | None
    cells: list[ClassCell]

    @property
    def is_changed(self) -> bool:
        """Say whether any artifact has a flip among the photos of the class."""
        return any(cell.num_flips for cell in self.cells)


def class_rows(report: Report) -> list[ClassRow]:
    """Return all classes, the largest drop of any artifact first. The list is empty where no artifact ran."""
    drifts = [row.drift for row in report.rows if row.drift]
    if not drifts:
        return []
    columns = [{drift.label: drift for drift in found.per_class} for found in drifts]
    drops = [abs(one.recall_drop_points or 0.0) for column in columns for one in column.values()]
    scale = _BAR / max(max(drops, default=0.0), 1.0)
    rows = []
    for seen in drifts[0].per_class:
        cells = [_class_cell(column.get(seen.label), scale) for column in columns]
        rows.append(ClassRow(seen.label, seen.num_photos, seen.original_recall, cells))
    return sorted(rows, key=lambda row: -max(_drop(cell) for cell in row.cells))


def _drop(cell: ClassCell) -> float:
    return (cell.drift.recall_drop_points or 0.0) if cell.drift else 0.0


def _class_cell(drift: ClassDrift | None, scale: float) -> ClassCell:
    drop = (drift.recall_drop_points if drift else None) or 0.0
    interval = drift.recall_drop_points_interval if drift else None
    significant = interval is not None and (interval.low > 0 or interval.high < 0)
    return ClassCell(drift, round(min(0.0, drop * scale), 1), round(abs(drop * scale), 1), drop > 0, significant)


def _flips(found: Flips) -> str:
    """Return the flips as ``3 / 1 / 0``: right to wrong, wrong to right and wrong to wrong."""
    return f"{found.right_to_wrong} / {found.wrong_to_right} / {found.wrong_to_wrong}"


def _worst(drift: Drift) -> list[ClassDrift]:
    """Return at most five classes whose recall dropped, the largest drop first."""
    dropped = [(one.recall_drop_points or 0.0, one) for one in drift.per_class]
    ordered = sorted((pair for pair in dropped if pair[0] > 0), key=lambda pair: -pair[0])
    return [one for _, one in ordered[:_NUM_WORST]]


def _html(report: Report) -> Values | None:
    every = class_rows(report)
    changed = [row for row in every if row.is_changed]
    if not every:
        return None
    return {"every": every, "num_changed": len(changed), "shown": changed[:MAX_SHOWN], "flips": _flips}


def _markdown(report: Report) -> Values | None:
    worst = [(row, one) for row in report.rows if row.drift for one in _worst(row.drift)]
    return {"worst": worst, "num_worst": _NUM_WORST} if worst else None


SECTION = Section(order=50, title="Classes", html=_html, markdown=_markdown)
