"""These pure functions score a classifier from its answers.

Labels and answers are class numbers, int64 (N,). What is kept grows with photos and classes, never with pairs of
classes: of thousands of classes a whole confusion matrix would be nearly all zeros.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tledge.records import Confusions, Metrics, Record

Integers = npt.NDArray[np.int64]


class ClassScore(Record):
    """This record scores one class.

    ``recall`` is the fraction of the class's photos that were recognised; None where the data has no such photo.
    """

    label: str
    num_photos: int
    recall: float | None


def confusions(labels: Integers, predicted: Integers) -> Confusions:
    """Count the photos of each pair of class and answer that occurs, in the order of the classes.

    numpy counts them here, because importing a library for it takes a second.
    """
    pairs, counts = np.unique(np.stack([labels, predicted], axis=1), axis=0, return_counts=True)
    return [(actual, answer, count) for (actual, answer), count in zip(pairs.tolist(), counts.tolist(), strict=True)]


def macro_f1(labels: Integers, predicted: Integers, num_classes: int) -> float:
    """Return the mean of 2 TP / (2 TP + FP + FN) over the classes that occur in the truth.

    A class that is never predicted has F1 0.
    """
    right, truth, answered = _by_class(labels, predicted, num_classes)
    present = truth > 0
    return float(np.mean(2 * right[present] / (truth + answered)[present]))


def metrics_of(labels: Integers, logits: npt.NDArray[np.float32]) -> Metrics:
    """Score answers as :func:`metrics` does; ``labels`` are int64 (N,), ``logits`` float32 (N, C)."""
    return metrics(labels, np.argmax(logits, axis=1), logits.shape[1])


def metrics(labels: Integers, predicted: Integers, num_classes: int) -> Metrics:
    """Score the answers to at least one photo.

    Averages are unweighted means over the classes that occur in the truth: a class that the data lacks has no recall. A
    class that is never predicted has precision 0.
    """
    right, truth, answered = _by_class(labels, predicted, num_classes)
    present = truth > 0
    right_there, truth_there, answered_there = right[present], truth[present], answered[present]
    return Metrics(
        num_photos=len(labels),
        accuracy=float(right.sum() / len(labels)),
        precision_macro=float(np.mean(right_there / np.maximum(answered_there, 1))),
        recall_macro=float(np.mean(right_there / truth_there)),
        f1_macro=macro_f1(labels, predicted, num_classes),
        confusions=confusions(labels, predicted),
    )


def per_class(labels: Integers, predicted: Integers, names: Sequence[str]) -> list[ClassScore]:
    """Score every class of ``names``."""
    right, truth, _ = _by_class(labels, predicted, len(names))
    return [
        ClassScore(label=name, num_photos=int(count), recall=float(hits / count) if count else None)
        for name, hits, count in zip(names, right, truth, strict=True)
    ]


def _by_class(labels: Integers, predicted: Integers, num_classes: int) -> tuple[Integers, Integers, Integers]:
    """Count right answers, photos and answers of each class, int64 (C,) each."""
    right, truth, answered = (
        np.bincount(classes, minlength=num_classes) for classes in (labels[labels == predicted], labels, predicted)
    )
    return right, truth, answered
