"""The stage ``evaluate`` scores a model of a run on labelled photos, by default only on those it did not learn from."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator

import numpy as np
from pydantic import Field

from tledge.datasets import Source, open_source
from tledge.datasets.splits import split_digest
from tledge.errors import InputError
from tledge.inference.labelled import Entry, Labelled, Part
from tledge.inference.run_model import RunModel
from tledge.inference.seen import SeenPhotos
from tledge.near_copies import LENGTH, Fingerprints, fingerprint
from tledge.preprocessing import Pixels
from tledge.printable import few
from tledge.progress import Progress, Silent
from tledge.records import Interval, Metrics, NearCopy, Record, SkippedPhoto, SplitName
from tledge.scores import ClassScore, metrics, per_class
from tledge.statistics import wilson_interval


class Evaluation(Record):
    """An evaluation is a model's score on a data set. Scores are fractions, 0 to 1."""

    run: str
    artifact: str = Field(description="This is the format of the artifact that was scored, or `original`.")
    runtime: str
    pixel_range: list[int] | None = Field(
        default=None,
        description="These are the two 16-bit values that stand for black and for white. The value is None if the build was "
        "given no `--pixel-range`.",
    )
    dataset: str
    split: Part = Field(description="This is the data set's own split that was scored, or `all`.")
    photos_sha256: str = Field(
        description="This is a SHA-256 over the content and label of every scored photo, computed as for the splits in "
        "manifest.json."
    )
    own_photos: dict[SplitName, int] = Field(
        description="This is the number of photos from each split of the run that occur in the data set with the same "
        "content."
    )
    near_copies: list[NearCopy] = Field(
        description="This lists the photos of the data set that are near copies of the run's training and validation "
        "photos."
    )
    near_copies_scored: int = Field(
        description="This is the number of scored photos that are as near to a training or validation photo as a near "
        "copy is. They are scored because many photos of the data set are alike."
    )
    includes_seen: bool = Field(
        description="This says whether photos of the run's training and validation splits were scored too."
    )
    skipped: list[SkippedPhoto]
    labels: list[str]
    metrics: Metrics
    accuracy_interval: Interval = Field(description="This is Wilson's 95% interval of the accuracy.")
    per_class: list[ClassScore]
    warnings: list[str]


def evaluate(
    model: RunModel,
    dataset: str,
    *,
    split: str = "all",
    include_seen: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Score a model of a run on a data set, whose classes have the names of the run's.

    Args:
        model: the original or an artifact of a run.
        dataset: spec of the data set, as :func:`tledge.datasets.open_source` takes it.
        split: ``all``, or one split where the source itself has splits.
        include_seen: score also photos of the run's train and validation splits. Otherwise they are left out: they are
            recognised by their content, or as near copies.
        progress: what is told of steps and warnings.

    Raises:
        InputError: The run does not know a class, there is no photo to score, or over 5% of them can't be read.
        ArtifactError: :meth:`RunModel.answers` raises it.
    """
    progress = progress or Silent()
    source = open_source(dataset)
    labelled = Labelled(source, split, model.preparation)
    _check_classes(source, model)
    seen = SeenPhotos(model.run, progress)

    def photos() -> Iterator[tuple[tuple[Entry, Fingerprints], Pixels]]:
        # A photo that was learned from is counted, also where it is scored.
        stream = labelled.photos(model.input_size, lambda key: not seen.is_learnt_from(key) or include_seen)
        return (((entry, fingerprint(pixels)), pixels) for entry, pixels in stream)

    entries: list[Entry] = []
    fingerprints: list[Fingerprints] = []
    predicted: list[int] = []
    answers = model.answers(photos(), source.num_photos, progress)
    with contextlib.closing(answers):
        for marks, probabilities in answers:
            entries += [entry for entry, _ in marks]
            fingerprints += [one for _, one in marks]
            predicted += np.argmax(probabilities, axis=1).tolist()
    # Whether near photos are copies is known only once all were compared. So answers to copies are
    # dropped here, unless they are to be scored.
    is_copy = seen.judge(entries, np.array(fingerprints, np.uint8).reshape(-1, LENGTH))
    is_scored = np.ones(len(entries), np.bool_) if include_seen else ~is_copy
    scored = list(itertools.compress(entries, is_scored))
    warnings = [*source.warnings, *labelled.warnings(len(entries)), *seen.warnings(len(scored), include_seen)]
    if not scored:
        raise _nothing(labelled, seen)
    numbers = {label: number for number, label in enumerate(model.labels)}
    truth, answered = np.array([numbers[entry.label] for entry in scored]), np.array(predicted)[is_scored]
    by_class = per_class(truth, answered, model.labels)
    absent = [one.label for one in by_class if not one.num_photos]
    if absent:
        warnings.append(f"no photo of {few(absent, ', ')}: how well it is recognised is not measured")
    for warning in warnings:
        progress.warn(warning)
    return Evaluation(
        run=model.run.name,
        artifact=model.name,
        runtime=model.runnable.runtime,
        pixel_range=None if model.preparation.pixel_range is None else list(model.preparation.pixel_range),
        dataset=source.name,
        split=split,
        photos_sha256=split_digest([entry.key for entry in scored], [entry.label for entry in scored]),
        own_photos=dict(seen.by_content),
        near_copies=seen.copies,
        near_copies_scored=seen.num_alike,
        includes_seen=include_seen,
        skipped=labelled.skipped,
        labels=model.labels,
        metrics=metrics(truth, answered, len(model.labels)),
        accuracy_interval=wilson_interval(int(np.sum(truth == answered)), len(truth)),
        per_class=by_class,
        warnings=warnings,
    )


def _check_classes(source: Source, model: RunModel) -> None:
    """Raise InputError for a class that the run does not know."""
    known = set(model.labels)
    unknown_to_run = [label for label in source.labels if label not in known]
    if unknown_to_run:
        raise InputError(
            f"data set {source.spec}: run {model.run.name} does not know {', '.join(map(repr, unknown_to_run))}; its classes "
            f"are {', '.join(map(repr, model.labels))}. Give a data set whose classes have these names: in a folder, "
            "rename or remove the class folders."
        )


def _nothing(labelled: Labelled, seen: SeenPhotos) -> InputError:
    if any(seen.by_content.values()) or seen.copies:
        return InputError(f"data set {labelled.source.spec}: nothing but {seen.told()}; --include-seen scores them")
    return labelled.nothing()
