"""predict: photos in, the most probable classes of each out."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tledge.ahead import ahead
from tledge.errors import InputError
from tledge.inference.new_photos import Found, find_photos, path_text, read_named_photo
from tledge.inference.run_model import RunModel
from tledge.preprocessing import Pixels, UnreadableImage, prepare_photo
from tledge.printable import few
from tledge.progress import Progress, Silent

_USUAL_TOP = 3


@dataclass(frozen=True)
class Answer:
    """A class and its probability, in 0..1 but for the rounding of 8-bit outputs."""

    label: str
    probability: float


@dataclass(frozen=True)
class Answered:
    """A photo and its most probable classes, the most probable first."""

    path: str
    answers: list[Answer]


@dataclass(frozen=True)
class UnreadablePhoto:
    """A photo that could not be read, and why."""

    path: str
    reason: str


class Prediction:
    """The answers of a model to photos. ``unreadable`` grows while :meth:`answers` is read; ``skipped`` is known before.

    ``photos``: files, folders, or ``-`` for one photo on standard input: see :func:`tledge.inference.new_photos.find_photos`.
    ``top``: how many classes, None for three or all that there are. Raises InputError for no photos, and for ``top`` below 1
    or above the number of classes.
    """

    def __init__(
        self, model: RunModel, photos: Sequence[str | Path], *, top: int | None = None, progress: Progress | None = None
    ) -> None:
        if top is not None and not 1 <= top <= len(model.labels):
            raise InputError(f"--top {top}: use a number from 1 to {len(model.labels)}, the classes of the run")
        self.model = model
        self.top = min(_USUAL_TOP, len(model.labels)) if top is None else top
        self.unreadable: list[UnreadablePhoto] = []
        self._found: Found = find_photos(photos)
        self._progress = progress or Silent()
        self.photos = [path_text(path) for path in self._found.photos]
        self.skipped = [path_text(path) for path in self._found.skipped]
        if self._found.outputs:
            self._progress.warn(
                f"left out what tledge itself wrote: {few([path_text(path) for path in self._found.outputs])}"
            )
        if self.skipped:
            self._progress.warn(f"skipped, as no photos by their names: {few(self.skipped)}")

    def answers(self) -> Generator[Answered, None, None]:
        """Every readable photo in order. They come in blocks, so that any number of them can be read.

        Of equally probable classes, which 8-bit outputs hold often, the first in the run's order comes first. Raises
        ArtifactError as :meth:`RunModel.answers` does.
        """
        labels = self.model.labels
        for paths, probabilities in self.model.answers(self._readable(), len(self.photos), self._progress):
            for path, row in zip(paths, probabilities, strict=True):
                best = np.argsort(-row, kind="stable")[: self.top]
                yield Answered(path, [Answer(labels[number], float(row[number])) for number in best])

    def _readable(self) -> Iterator[tuple[str, Pixels]]:
        size, pixel_range = self.model.input_size, self.model.pixel_range

        def work(photo: str) -> tuple[str, Pixels | UnreadableImage]:
            try:
                return path_text(photo), prepare_photo(read_named_photo(photo), size, pixel_range).pixels
            except UnreadableImage as error:
                return path_text(photo), error

        for path, outcome in ahead(work, self._found.photos):
            if isinstance(outcome, UnreadableImage):
                self.unreadable.append(UnreadablePhoto(path, str(outcome)))
                self._progress.warn(f"{path}: not answered: {outcome}")
            else:
                yield path, outcome
