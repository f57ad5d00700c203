"""evaluate: a model of a run scored on labelled photos, by default on those alone that it has not learned from."""

from __future__ import annotations

import contextlib
import csv
from collections import Counter
from collections.abc import Iterator

import numpy as np
from pydantic import Field

from tledge.datasets import Source, open_source
from tledge.datasets.prepare import SPLITS_FILE
from tledge.datasets.splits import split_digest
from tledge.errors import InputError
from tledge.inference.labelled import Entry, Labelled, Part
from tledge.inference.model import Model
from tledge.inference.scores import ClassScore, metrics, per_class
from tledge.preprocessing import Pixels
from tledge.progress import Progress, Silent
from tledge.records import SPLITS, Interval, Metrics, Record, SkippedPhoto, SplitName
from tledge.run import Run
from tledge.verification.statistics import wilson_interval


class Evaluation(Record):
    """A model's score on a data set. Fractions of one."""

    run: str
    artifact: str = Field(description="original, or the artifact's format")
    runtime: str
    pixel_range: list[int] | None = Field(
        default=None, description="black and white of 16-bit photos, where it was said"
    )
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
    source = open_source(dataset)
    labelled = Labelled(source, split, model.pixel_range)
    _check_classes(source, model)
    chosen = _Chosen(labelled, _own_photos(model.run), include_seen)
    numbers = {label: number for number, label in enumerate(model.labels)}
    confusion = np.zeros((len(numbers), len(numbers)), np.int64)
    keys: list[bytes] = []
    names: list[str] = []
    answers = model.answers(chosen.photos(model.input_size), source.num_photos, progress)
    with contextlib.closing(answers):
        for photos, probabilities in answers:
            truth = np.array([numbers[photo.label] for photo in photos])
            np.add.at(confusion, (truth, np.argmax(probabilities, axis=1)), 1)
            keys += [photo.key for photo in photos]
            names += [photo.label for photo in photos]
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
        pixel_range=None if model.pixel_range is None else list(model.pixel_range),
        dataset=source.name,
        split=split,
        photos_sha256=split_digest(keys, names),
        own_photos=dict(chosen.own),
        includes_seen=include_seen,
        skipped=labelled.skipped,
        labels=model.labels,
        metrics=scores,
        accuracy_interval=wilson_interval(int(np.trace(confusion)), scores.num_photos),
        per_class=per_class(confusion, model.labels),
        warnings=warnings,
    )


def _check_classes(source: Source, model: Model) -> None:
    """Raise InputError for a class that the run does not know."""
    unknown_to_run = [label for label in source.labels if label not in model.labels]
    if unknown_to_run:
        raise InputError(
            f"data set {source.spec}: run {model.run.name} does not know {', '.join(map(repr, unknown_to_run))}; its classes "
            f"are {', '.join(map(repr, model.labels))}. Give a data set whose classes have these names: in a folder, "
            "rename or remove the class folders."
        )


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
    """The photos of a source that are to be scored; counts grow as they are read."""

    def __init__(self, labelled: Labelled, own_photos: dict[bytes, SplitName], include_seen: bool) -> None:
        self.own: Counter[SplitName] = Counter()
        self._labelled, self._own_photos, self._include_seen = labelled, own_photos, include_seen

    def photos(self, size: int) -> Iterator[tuple[Entry, Pixels]]:
        """Each photo with its pixels."""
        return self._labelled.photos(size, self._is_scored)

    def _is_scored(self, key: bytes) -> bool:
        place = self._own_photos.get(key)
        if place:
            self.own[place] += 1
        return self._include_seen or place not in ("train", "validation")

    def warnings(self, num_scored: int, run: Run) -> list[str]:
        """What was left out, and what is doubtful of the rest. Raises InputError where the rest can't be judged by."""
        train, validation, test = (self.own[name] for name in ("train", "validation", "test"))
        seen = f"{train} photos that run {run.name} was trained on and {validation} that chose its epoch"
        warnings = self._labelled.warnings(num_scored)
        if not num_scored:
            if train or validation:
                raise InputError(
                    f"data set {self._labelled.source.spec}: nothing but {seen}; --include-seen scores them"
                )
            raise self._labelled.nothing()
        if (train or validation) and self._include_seen:
            warnings.append(f"scored with {seen}: the accuracy says little of new photos")
        elif train or validation:
            warnings.append(f"left out {seen}; --include-seen scores them too")
        if test:
            warnings.append(f"{test} of the {num_scored} photos scored are of the test split of run {run.name} itself")
        return warnings
