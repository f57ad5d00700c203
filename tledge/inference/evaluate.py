"""The stage ``evaluate`` scores a model of a run on labelled photos, by default only on those it did not learn from."""

from __future__ import annotations

import contextlib
import itertools
import shlex
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from pydantic import Field

from tledge.datasets import Source, open_source
from tledge.datasets.spec import meant_instead
from tledge.datasets.splits import split_digest
from tledge.errors import InputError, nearest, unknown
from tledge.inference.labelled import Entry, Labelled, Part
from tledge.inference.run_model import RunModel
from tledge.inference.seen import SeenPhotos
from tledge.near_copies import LENGTH
from tledge.printable import counted, few
from tledge.progress import Progress, Silent
from tledge.records import Interval, Metrics, NearCopy, Record, SkippedPhoto, SplitName
from tledge.scores import ClassScore, metrics, per_class
from tledge.statistics import wilson_interval

_MOST_GUESSED = 5  # classes for which the nearest class of the run is named


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
    class_map: dict[str, str] = Field(
        default={},
        description="This gives, for classes of the data set that have another name in the run, the name in the run.",
    )
    conflicts_left_out: list[str] = Field(
        default=[],
        description="This lists the photos that were not scored because the data set holds the same file under more than one "
        "label.",
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
    class_map: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Score a model of a run on a data set, whose classes have the names of the run's or are mapped to them.

    Args:
        model: the original or an artifact of a run.
        dataset: spec of the data set, as :func:`tledge.datasets.open_source` takes it.
        split: ``all``, or one split where the source itself has splits.
        include_seen: score also photos of the run's train and validation splits. Otherwise they are left out: they are
            recognised by their content, or as near copies.
        class_map: the run's class by the data set's, for classes whose names differ.
        progress: what is told of steps and warnings.

    Raises:
        InputError: The run does not know a class, the map names an unknown one, there is no photo to score, or over 5% of
            them can't be read.
        ArtifactError: :meth:`RunModel.answers` raises it.
    """
    progress = progress or Silent()
    source = open_source(dataset)
    labelled = Labelled(source, split, model.preparation)
    classes = _classes(source, model, class_map or {})
    for note in source.notes:
        progress.say(note)
    seen = SeenPhotos(model.run, progress)

    # A photo that was learned from is counted, also where it is scored.
    photos = labelled.photos(
        model.input_size, lambda key: not seen.is_learnt_from(key) or include_seen, fingerprinted=True
    )
    entries: list[Entry] = []
    predicted: list[int] = []
    answers = model.answers(photos, source.num_photos, progress)
    with contextlib.closing(answers):
        for marks, probabilities in answers:
            entries += marks
            predicted += np.argmax(probabilities, axis=1).tolist()
    entries = [replace(entry, label=classes[entry.label]) for entry in entries]
    # Whether near photos are copies is known only once all were compared. So answers to copies are
    # dropped here, unless they are to be scored.
    is_copy = seen.judge(entries, np.array([entry.fingerprint for entry in entries], np.uint8).reshape(-1, LENGTH))
    is_scored = np.ones(len(entries), np.bool_) if include_seen else ~is_copy
    conflicts = _conflicts(list(itertools.compress(entries, is_scored)))
    is_scored &= np.array([entry.id not in conflicts for entry in entries], np.bool_)
    scored = list(itertools.compress(entries, is_scored))
    warnings = [*source.warnings, *labelled.warnings(len(entries)), *seen.warnings(len(scored), include_seen)]
    if conflicts:
        named = few([f"{photo} ({label})" for photo, label in conflicts.items()])
        warnings.append(
            f"left out {counted(len(conflicts), 'photo')} whose file occurs under more than one label: {named}. Remove the "
            "wrong ones."
        )
    if not scored:
        raise _nothing(labelled, seen, conflicts)
    numbers = {label: number for number, label in enumerate(model.labels)}
    truth, answered = np.array([numbers[entry.label] for entry in scored]), np.array(predicted)[is_scored]
    by_class = per_class(truth, answered, model.labels)
    absent = [one.label for one in by_class if not one.num_photos]
    if absent:
        are = "it is" if len(absent) == 1 else "they are"
        warnings.append(f"no photo of {few(absent, ', ')}: how well {are} recognised is not measured")
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
        class_map={label: own for label, own in classes.items() if label != own},
        conflicts_left_out=list(conflicts),
        includes_seen=include_seen,
        skipped=labelled.skipped,
        labels=model.labels,
        metrics=metrics(truth, answered, len(model.labels)),
        accuracy_interval=wilson_interval(int(np.sum(truth == answered)), len(truth)),
        per_class=by_class,
        warnings=warnings,
    )


def parse_class_map(texts: Sequence[str]) -> dict[str, str]:
    """Parse a map of classes from texts such as ``rose=roses``. Raises InputError for a text of another form."""
    found: dict[str, str] = {}
    for text in texts:
        label, sign, own = text.partition("=")
        if not (label and sign and own):
            raise InputError(f"--map {text!r}: write the data set's class, then =, then the run's, like rose=roses")
        if found.setdefault(label, own) != own:
            raise InputError(f"--map: {label!r} is mapped to {found[label]!r} and to {own!r}. Give one of them.")
    return found


def _classes(source: Source, model: RunModel, class_map: Mapping[str, str]) -> dict[str, str]:
    """Return the run's class for each class of the data set.

    One name in two forms of Unicode is one class. Raises InputError for names that are unknown to the data set or the run.
    """
    for label, own in class_map.items():
        if _plain(label) not in map(_plain, source.labels):
            raise unknown(f"class of data set {source.name}", label, source.labels)
        if _plain(own) not in map(_plain, model.labels):
            raise unknown(f"class of run {model.run.name}", own, model.labels)
    own_by_plain = {_plain(own): own for own in model.labels}
    mapped = {_plain(label): own_by_plain[_plain(own)] for label, own in class_map.items()}
    found = {label: mapped.get(_plain(label), own_by_plain.get(_plain(label))) for label in source.labels}
    if unknown_to_run := [label for label, own in found.items() if own is None]:
        known = few(list(map(repr, model.labels)), ", ")
        nearest_own = {label: nearest(label, model.labels) for label in unknown_to_run[:_MOST_GUESSED]}
        maps = [
            f"--map {shlex.quote(f'{label}={own}')}" for label, own in nearest_own.items() if own and "=" not in label
        ]
        guess = f" If they mean the same, say so: {' '.join(maps)}." if maps else ""
        raise InputError(
            f"data set {source.spec}: run {model.run.name} does not know {few(list(map(repr, unknown_to_run)), ', ')}. Its "
            f"classes are {known}.{meant_instead(source)}{guess} Else rename or remove the class folders in a copy."
        )
    return {label: own for label, own in found.items() if own is not None}


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _conflicts(entries: Sequence[Entry]) -> dict[str, str]:
    """Return the label, by its id, of each photo whose file occurs under more than one label."""
    labels: dict[bytes, set[str]] = {}
    for entry in entries:
        labels.setdefault(entry.key, set()).add(entry.label)
    return {entry.id: entry.label for entry in entries if len(labels[entry.key]) > 1}


def _nothing(labelled: Labelled, seen: SeenPhotos, conflicts: Mapping[str, str]) -> InputError:
    if any(seen.by_content.values()) or seen.copies:
        return InputError(
            f"data set {labelled.source.spec}: nothing but {seen.told()}. With --include-seen they are scored."
        )
    if conflicts:
        named = few([f"{photo} ({label})" for photo, label in conflicts.items()])
        return InputError(f"data set {labelled.source.spec}: each photo occurs under more than one label: {named}")
    return labelled.nothing()
