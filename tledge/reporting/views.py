"""What the tables of report.html show, taken from the record: selections and shades, no markup."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tledge.records import ClassDrift, FlippedPhoto, Latency, Report, Row, Speedup
from tledge.reporting.wording import counted, full_name, kind_of_flip, short_names

MAX_CLASSES = 30
"""Classes that a table shows: above it, the worst classes and the most frequent confusions stand for all."""
_SHADES = 5
_BAR = 30.0  # pixels of the longest bar to either side


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


@dataclass(frozen=True)
class ClassCell:
    """One class and artifact. ``start`` and ``length``: its bar, in pixels, from -30 (better) to 30 (worse)."""

    drift: ClassDrift | None
    start: float
    length: float
    is_worse: bool
    is_significant: bool

    @property
    def num_flips(self) -> int:
        """Photos of the class that the artifact answers otherwise than the original."""
        found = self.drift.flips if self.drift else None
        return found.right_to_wrong + found.wrong_to_right + found.wrong_to_wrong if found else 0


@dataclass(frozen=True)
class ClassRow:
    """One class: how many photos, what the original finds of them, and every artifact's drop."""

    label: str
    num_photos: int
    original_recall: float | None
    cells: list[ClassCell]


def class_rows(report: Report) -> list[ClassRow]:
    """The classes, those with the largest drop of any artifact first, at most :data:`MAX_CLASSES`."""
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
    rows.sort(key=lambda row: -max(_drop(cell) for cell in row.cells))
    return rows[:MAX_CLASSES]


def _drop(cell: ClassCell) -> float:
    return (cell.drift.recall_drop_points or 0.0) if cell.drift else 0.0


def _class_cell(drift: ClassDrift | None, scale: float) -> ClassCell:
    drop = (drift.recall_drop_points if drift else None) or 0.0
    interval = drift.recall_drop_points_interval if drift else None
    significant = interval is not None and (interval.low > 0 or interval.high < 0)
    return ClassCell(drift, round(min(0.0, drop * scale), 1), round(abs(drop * scale), 1), drop > 0, significant)


@dataclass(frozen=True)
class Timing:
    """A latency with whose it is, and what it was compared with."""

    name: str
    latency: Latency
    peak_memory_mb: float | None
    speedups: list[Speedup]


def timings(report: Report) -> list[Timing]:
    """Every latency that was measured: the target's thread count, then the others; the original first."""
    names, original = short_names(report.rows), report.original
    subjects: list[tuple[str, list[Latency], float | None, Row | None]] = [
        ("original", _latencies(original.cpu_latency, original.cpu_thread_sweep), original.peak_memory_mb, None)
    ]
    subjects += [
        (names[row.artifact], _latencies(row.latency, row.thread_sweep), row.peak_memory_mb, row) for row in report.rows
    ]
    return [
        Timing(
            name,
            latency,
            memory,
            [one for one in row.speedups if one.num_threads == latency.num_threads] if row else [],
        )
        for name, latencies, memory, row in subjects
        for latency in latencies
    ]


def _latencies(first: Latency | None, sweep: Sequence[Latency]) -> list[Latency]:
    return [first, *sweep] if first else list(sweep)


@dataclass(frozen=True)
class Answer:
    """One artifact's answer of the gallery. ``artifact``: its number in :attr:`Gallery.artifacts`."""

    artifact: int
    name: str
    predicted: str
    confidence: float
    kind: str


@dataclass(frozen=True)
class Photo:
    """A photo of the gallery with every answer that differs."""

    photo: FlippedPhoto
    label: int
    answers: list[Answer]


@dataclass(frozen=True)
class Gallery:
    """The photos, and what they can be filtered by. Numbers stand for names: a name may be anything."""

    photos: list[Photo]
    artifacts: list[str]
    labels: list[str]
    kinds: list[str]
    shown: str


def gallery(report: Report) -> Gallery:
    """The flipped photos as the record orders them."""
    names = {full_name(row): short for row, short in zip(report.rows, short_names(report.rows).values(), strict=True)}
    present = {answer.artifact for photo in report.flipped_photos for answer in photo.answers}
    artifacts = [name for name in names if name in present] + sorted(present - names.keys())
    labels = sorted({photo.label for photo in report.flipped_photos})
    photos = [
        Photo(
            photo,
            labels.index(photo.label),
            [
                Answer(
                    artifacts.index(answer.artifact),
                    names.get(answer.artifact, answer.artifact),
                    answer.predicted,
                    answer.confidence,
                    kind_of_flip(photo.label, photo.original_predicted, answer.predicted),
                )
                for answer in photo.answers
            ],
        )
        for photo in report.flipped_photos
    ]
    total, listed = report.num_flipped_photos, len(photos)
    shown = counted(total, "photo") + (
        f", of which {listed} are here: those on which most differ" if listed < total else ""
    )
    kinds = ["right to wrong", "wrong to right", "wrong to wrong"]
    return Gallery(photos, [names.get(name, name) for name in artifacts], labels, kinds, shown)
