"""evaluate: a model of a run scored on labelled photos, by default on those alone that it has not learned from."""

from __future__ import annotations

import contextlib
import csv
from collections import Counter
from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from pydantic import Field

from tledge.datasets import Photo, Source, open_source
from tledge.datasets.prepare import MAX_SKIPPED_SHARE, SPLITS_FILE, content_key, pixel_cache
from tledge.datasets.splits import split_digest
from tledge.errors import InputError, unknown
from tledge.inference.model import Model
from tledge.inference.photos import ahead, few, pixels
from tledge.inference.scores import ClassScore, metrics, per_class
from tledge.preprocessing import Pixels, UnreadableImage
from tledge.progress import Progress, Silent
from tledge.records import SPLITS, Interval, Metrics, Record, SkippedPhoto, SplitName
from tledge.run import Run
from tledge.verification.statistics import wilson_interval

Part = Literal["all", "train", "validation", "test"]


class Evaluation(Record):
    """A model's score on a data set. Fractions of one."""

    run: str
    artifact: str = Field(description="original, or the artifact's format")
    runtime: str
    dataset: str
    split: Part = Field(description="of the data set's own splits")
    photos_sha256: str = Field(description="of the photos scored and their labels, as the splits in manifest.json")
    own_photos: dict[SplitName, int] = Field(description="photos of the run's splits found in the data, by content")
    includes_seen: bool = Field(description="whether those of its train and validation splits were scored too")
    skipped: list[SkippedPhoto]
    labels: list[str]
    metrics: Metrics
    accuracy_interval: Interval = Field(description="Wilson, 95%")
    per_class: list[ClassScore]
    warnings: list[str]


def evaluate(
    model: Model,
    dataset: str,
    *,
    split: str = "all",
    include_seen: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Score ``model`` on the data set of a spec, as :func:`tledge.datasets.open_source` takes it; labels fit by name.

    ``split``: all of it, or one split where the source itself has splits. Photos of the run's train and validation
    splits, known by their content, are left out unless ``include_seen``. Raises InputError for a class that the run
    does not know, for no photo to score, and for over 5% unreadable ones; ArtifactError as :meth:`Model.answers` does.
    """
    progress = progress or Silent()
    if split not in get_args(Part):
        raise unknown("split", split, get_args(Part))
    source = open_source(dataset)
    numbers = _class_numbers(source, model)
    chosen = _Chosen(source, split, _own_photos(model.run), include_seen, progress)
    confusion = np.zeros((len(model.labels), len(model.labels)), np.int64)
    keys: list[bytes] = []
    names: list[str] = []
    answers = model.answers(chosen.photos(model.input_size), source.num_photos, progress)
    with contextlib.closing(answers):
        for photos, probabilities in answers:
            truth = np.array([numbers[label] for label, _ in photos])
            np.add.at(confusion, (truth, np.argmax(probabilities, axis=1)), 1)
            keys += [key for _, key in photos]
            names += [source.labels[label] for label, _ in photos]
    warnings = [*source.warnings, *chosen.warnings(len(keys), model.run)]
    absent = [label for label, count in zip(model.labels, confusion.sum(axis=1), strict=True) if not count]
    if absent:
        warnings.append(f"no photo of {', '.join(absent)}: how well it is recognised is not measured")
    for warning in warnings:
        progress.warn(warning)
    scores = metrics(confusion)
    return Evaluation(
        run=model.run.name,
        artifact=model.name,
        runtime=model.task.runtime,
        dataset=source.name,
        split=split,
        photos_sha256=split_digest(keys, names),
        own_photos=dict(chosen.own),
        includes_seen=include_seen,
        skipped=chosen.skipped,
        labels=model.labels,
        metrics=scores,
        accuracy_interval=wilson_interval(int(np.trace(confusion)), scores.num_photos),
        per_class=per_class(confusion, model.labels),
        warnings=warnings,
    )


def _class_numbers(source: Source, model: Model) -> npt.NDArray[np.int64]:
    """The run's number of each class of the source."""
    unknown_to_run = [label for label in source.labels if label not in model.labels]
    if unknown_to_run:
        raise InputError(
            f"data set {source.spec}: run {model.run.name} does not know {', '.join(map(repr, unknown_to_run))}; its classes "
            f"are {', '.join(map(repr, model.labels))}. Give a data set whose classes have these names: in a folder, "
            "rename or remove the class folders."
        )
    return np.array([model.labels.index(label) for label in source.labels])


def _own_photos(run: Run) -> dict[bytes, SplitName]:
    """Which split of the run a photo is in, by the SHA-256 of its content."""
    with (run.folder / SPLITS_FILE).open(newline="", encoding="utf-8") as file:
        entries = list(csv.DictReader(file))
    return {
        bytes.fromhex(entry["content_sha256"]): split
        for split in SPLITS
        for entry in entries
        if entry["split"] == split
    }


class _Chosen:
    """The photos of a source that are to be scored; counts and notes grow as they are read."""

    def __init__(
        self, source: Source, split: str, own_photos: dict[bytes, SplitName], include_seen: bool, progress: Progress
    ) -> None:
        self.own: Counter[SplitName] = Counter()
        self.skipped: list[SkippedPhoto] = []
        self._source, self._split, self._include_seen = source, split, include_seen
        self._own_photos, self._progress = own_photos, progress
        self._source_splits: set[str] = set()

    def photos(self, size: int) -> Iterator[tuple[tuple[int, bytes], Pixels]]:
        """Each photo's class in the source and content hash, with its pixels: the cached ones where there are some."""
        cached = pixel_cache(size)

        def work(item: tuple[Photo, bytes]) -> Pixels:
            photo, key = item
            return np.asarray(cached.rows([key])[0], np.uint8) if key in cached else pixels(photo.data, size)

        for (photo, key), outcome in ahead(work, self._selected()):
            if isinstance(outcome, UnreadableImage):
                self.skipped.append(SkippedPhoto(id=photo.id, reason=str(outcome)))
            else:
                yield (photo.label, key), outcome

    def _selected(self) -> Iterator[tuple[Photo, bytes]]:
        for photo in self._source.photos():
            if photo.source_split:
                self._source_splits.add(photo.source_split)
            if self._split not in ("all", photo.source_split):
                continue
            key = content_key(photo)
            place = self._own_photos.get(key)
            if place:
                self.own[place] += 1
            if self._include_seen or place not in ("train", "validation"):
                yield photo, key

    def warnings(self, num_scored: int, run: Run) -> list[str]:
        """What was left out, and what is doubtful of the rest. Raises InputError where the rest can't be judged by."""
        spec = self._source.spec
        train, validation, test = (self.own[name] for name in ("train", "validation", "test"))
        seen = f"{train} photos that run {run.name} was trained on and {validation} that chose its epoch"
        warnings = []
        if self.skipped:
            total = num_scored + len(self.skipped)
            shown = few([f"{photo.id} ({photo.reason})" for photo in self.skipped])
            problem = f"{len(self.skipped)} of {total} photos can't be read"
            if len(self.skipped) > MAX_SKIPPED_SHARE * total:
                raise InputError(
                    f"data set {spec}: {problem}, over {MAX_SKIPPED_SHARE:.0%}: {shown}. Repair or remove them."
                )
            warnings.append(f"skipped: {problem}: {shown}")
        if not num_scored:
            if train or validation:
                raise InputError(f"data set {spec}: nothing but {seen}; --include-seen scores them")
            if self._split != "all":
                splits = (
                    f"its own splits are {', '.join(sorted(self._source_splits))}"
                    if self._source_splits
                    else ("it has no splits of its own")
                )
                raise InputError(f"data set {spec}: no {self._split} photo; {splits}. Use --split all.")
            raise InputError(f"data set {spec}: no photos in it")
        if (train or validation) and self._include_seen:
            warnings.append(f"scored with {seen}: the accuracy says little of new photos")
        elif train or validation:
            warnings.append(f"left out {seen}; --include-seen scores them too")
        if test:
            warnings.append(f"{test} of the {num_scored} photos scored are of the test split of run {run.name} itself")
        return warnings
