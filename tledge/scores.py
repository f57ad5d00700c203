"""These pure functions score a classifier from its confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tledge.records import Metrics, Record

Integers = npt.NDArray[np.int64]


class ClassScore(Record):
    """This record scores one class.

    ``recall`` is the fraction of the class's photos that were recognised; None where the data has no such photo.
    """

    label: str
    num_photos: int
    recall: float | None


def confusion_matrix(labels: Integers, predicted: Integers, num_classes: int) -> Integers:
    """Count answers, int64 (C, C): rows are the truth, columns the prediction.

    numpy counts them here, because importing a library for it takes a second.
    """
    pairs = np.bincount(labels * num_classes + predicted, minlength=num_classes**2)
    return pairs.reshape(num_classes, num_classes)


def macro_f1(confusion: Integers) -> float:
    """Return the mean of 2 TP / (2 TP + FP + FN) over the classes that occur in the truth.

    ``confusion`` has counts, int64 (C, C), with the truth in rows. A class that is never predicted has F1 0.
    """
    right, truth, predicted = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    present = truth > 0
    return float(np.mean(2 * right[present] / (truth + predicted)[present]))


def metrics_of(labels: Integers, logits: npt.NDArray[np.float32]) -> Metrics:
    """Score answers as :func:`metrics` does; ``labels`` are int64 (N,), ``logits`` float32 (N, C)."""
    return metrics(confusion_matrix(labels, np.argmax(logits, axis=1), logits.shape[1]))


def metrics(confusion: Integers) -> Metrics:
    """Score a confusion matrix, int64 (C, C), rows truth, columns prediction, with at least one photo in all.

    Averages are unweighted means over the classes that occur in the truth: a class that the data lacks has no recall. A
    class that is never predicted has precision 0.
    """
    right, truth, predicted = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    present = truth > 0
    right_there, truth_there, predicted_there = right[present], truth[present], predicted[present]
    return Metrics(
        num_photos=int(truth.sum()),
        accuracy=float(right.sum() / truth.sum()),
        precision_macro=float(np.mean(right_there / np.maximum(predicted_there, 1))),
        recall_macro=float(np.mean(right_there / truth_there)),
        f1_macro=macro_f1(confusion),
        confusion_matrix=confusion.tolist(),
    )


def per_class(confusion: Integers, labels: Sequence[str]) -> list[ClassScore]:
    """Score every class; ``labels`` name the rows of the confusion matrix, int64 (C, C)."""
    right, truth = np.diag(confusion), confusion.sum(axis=1)
    return [
        ClassScore(label=label, num_photos=int(count), recall=float(hits / count) if count else None)
        for label, hits, count in zip(labels, right, truth, strict=True)
    ]
