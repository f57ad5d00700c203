"""This section shows the photos that an artifact and the original answer differently, with every such answer."""

from __future__ import annotations

from dataclasses import dataclass

from tledge.printable import counted
from tledge.records import FlippedPhoto, Report
from tledge.reporting.section import Section, Values
from tledge.reporting.wording import full_name, short_names


@dataclass(frozen=True)
class AnswerView:
    """An ``AnswerView`` is one artifact's answer in the gallery.

    ``artifact`` is the artifact's number in :attr:`Gallery.artifacts`.
    """

    artifact: int
    name: str
    predicted: str
    confidence: float
    kind: str


@dataclass(frozen=True)
class PhotoView:
    """A ``PhotoView`` shows a photo of the gallery with every answer that differs from the original's."""

    photo: FlippedPhoto
    label: int
    answers: list[AnswerView]


@dataclass(frozen=True)
class Gallery:
    """A gallery holds the photos and what they can be filtered by.

    The filters use numbers in place of names, because a name may hold any text.
    """

    photos: list[PhotoView]
    artifacts: list[str]
    labels: list[str]
    kinds: list[str]
    shown: str


def gallery(report: Report) -> Gallery:
    """Return the gallery of the flipped photos, in the order of the record."""
    names = {full_name(row): short for row, short in zip(report.rows, short_names(report.rows).values(), strict=True)}
    present = {answer.artifact for photo in report.flipped_photos for answer in photo.answers}
    artifacts = [name for name in names if name in present] + sorted(present - names.keys())
    labels = sorted({photo.label for photo in report.flipped_photos})
    photos = [
        PhotoView(
            photo,
            labels.index(photo.label),
            [
                AnswerView(
                    artifacts.index(answer.artifact),
                    names.get(answer.artifact, answer.artifact),
                    answer.predicted,
                    answer.confidence,
                    _kind_of_flip(photo.label, photo.original_predicted, answer.predicted),
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


def _kind_of_flip(label: str, before: str, after: str) -> str:
    """Return the kind of a flip: ``right to wrong``, ``wrong to right`` or ``wrong to wrong``."""
    return f"{'right' if before == label else 'wrong'} to {'right' if after == label else 'wrong'}"


def _html(report: Report) -> Values:
    return {"gallery": gallery(report)}


SECTION = Section(order=110, title="Changed answers", html=_html)
