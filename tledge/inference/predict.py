"""The stage ``predict`` names the most probable classes of photos."""

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
    """An answer is a class and its probability.

    The probability is between 0 and 1, up to the rounding error of artifacts with 8-bit outputs.
    """

    label: str
    probability: float


@dataclass(frozen=True)
class Answered:
    """An answered photo comes with its most probable classes, the most probable first."""

    path: str
    answers: list[Answer]


@dataclass(frozen=True)
class UnreadablePhoto:
    """An unreadable photo comes with the reason why it could not be read."""

    path: str
    reason: str


class Prediction:
    """A prediction gives the answers of a model to photos.

    ``skipped`` is known at once. ``unreadable`` grows while :meth:`answers` is read.

    Args:
        model: the original or an artifact of a run.
        photos: files, folders, or ``-`` for one photo on standard input, as
            :func:`tledge.inference.new_photos.find_photos` takes them.
        top: number of classes for each photo; None for three, or for all where there are fewer.
        progress: what is told of steps and warnings.

    Raises:
        InputError: There are no photos, or ``top`` is below 1 or above the number of classes.
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
        """Yield every readable photo with its answers, in order. Blocks of them are computed, so there may be many.

        Equally probable classes, which are frequent in 8-bit outputs, come in the run's order. Raises ArtifactError as
        :meth:`RunModel.answers` does.
        """
        labels = self.model.labels
        for paths, probabilities in self.model.answers(self._readable(), len(self.photos), self._progress):
            for path, row in zip(paths, probabilities, strict=True):
                best = np.argsort(-row, kind="stable")[: self.top]
                yield Answered(path, [Answer(labels[number], float(row[number])) for number in best])

    def _readable(self) -> Iterator[tuple[str, Pixels]]:
        size, preparation = self.model.input_size, self.model.preparation

        def work(photo: str) -> tuple[str, Pixels | UnreadableImage]:
            try:
                return path_text(photo), prepare_photo(read_named_photo(photo), size, preparation).pixels
            except UnreadableImage as error:
                return path_text(photo), error

        for path, outcome in ahead(work, self._found.photos):
            if isinstance(outcome, UnreadableImage):
                self.unreadable.append(UnreadablePhoto(path, str(outcome)))
                self._progress.warn(f"{path}: not answered: {outcome}")
            else:
                yield path, outcome
