"""The photos that an artifact answers otherwise than the original, with every such answer."""

from __future__ import annotations

from dataclasses import dataclass

from tledge.records import FlippedPhoto, Report
from tledge.reporting.section import Section, Values
from tledge.reporting.wording import count_text, full_name, short_names


@dataclass(frozen=True)
class AnswerView:
    """One artifact's answer of the gallery. ``artifact``: its number in :attr:`Gallery.artifacts`."""

    artifact: int
    name: str
    predicted: str
    confidence: float
    kind: str


@dataclass(frozen=True)
class PhotoView:
    """A photo of the gallery with every answer that differs."""

    photo: FlippedPhoto
    label: int
    answers: list[AnswerView]


@dataclass(frozen=True)
class Gallery:
    """The photos, and what they can be filtered by. Numbers stand for names: a name may be anything."""

    photos: list[PhotoView]
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
    shown = count_text(total, "photo") + (
        f", of which {listed} are here: those on which most differ" if listed < total else ""
    )
    kinds = ["right to wrong", "wrong to right", "wrong to wrong"]
    return Gallery(photos, [names.get(name, name) for name in artifacts], labels, kinds, shown)


def _kind_of_flip(label: str, before: str, after: str) -> str:
    """Return ``right to wrong``, ``wrong to right`` or ``wrong to wrong``."""
    return f"{'right' if before == label else 'wrong'} to {'right' if after == label else 'wrong'}"


def _html(report: Report) -> Values:
    return {"gallery": gallery(report)}


SECTION = Section(order=110, title="Changed answers", html=_html)
