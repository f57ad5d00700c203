"""Scores of a classifier are those of scikit-learn, and are counted in one place."""

from __future__ import annotations

import numpy as np
import pytest

from tledge.records import Confusions
from tledge.scores import metrics, metrics_of, per_class


def _dense(confusions: Confusions, num_classes: int) -> list[list[int]]:
    """The whole matrix: rows are the truth, columns the answers."""
    matrix = np.zeros((num_classes, num_classes), int)
    for actual, predicted, count in confusions:
        matrix[actual, predicted] = count
    return matrix.tolist()


def test_scores_are_scikit_learns_where_every_class_occurs() -> None:
    from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

    rng = np.random.default_rng(0)
    labels = np.concatenate([np.arange(5), rng.integers(0, 5, 200)])
    answers = rng.normal(size=(205, 5)).astype(np.float32)
    answers[:, 4] = -9  # a class that is never predicted
    predicted = answers.argmax(axis=1)
    made = metrics_of(labels, answers)
    precision, recall, f1, _ = precision_recall_fscore_support(labels, predicted, average="macro", zero_division=0.0)
    assert _dense(made.confusions, 5) == confusion_matrix(labels, predicted).tolist()
    assert made.accuracy == pytest.approx(accuracy_score(labels, predicted))
    assert (made.precision_macro, made.recall_macro, made.f1_macro) == pytest.approx((precision, recall, f1))


def test_metrics_are_macro_averages() -> None:
    labels = np.array([0, 0, 0, 1])
    logits = np.eye(3, dtype=np.float32)[[0, 0, 1, 1]]
    made = metrics_of(labels, logits)
    assert made.accuracy == 0.75
    assert made.precision_macro == pytest.approx((1 + 1 / 2) / 2)
    assert made.recall_macro == pytest.approx((2 / 3 + 1) / 2)
    assert made.f1_macro == pytest.approx((0.8 + 2 / 3) / 2)
    assert made.confusions == [(0, 0, 2), (0, 1, 1), (1, 1, 1)]
    assert made.num_photos == 4


def test_a_class_that_the_data_lacks_lowers_no_average() -> None:
    labels, predicted = np.array([0] * 4 + [2] * 4), np.array([0, 0, 0, 1] + [2] * 4)
    scores = metrics(labels, predicted, 3)
    assert scores.recall_macro == pytest.approx((3 / 4 + 1) / 2)
    assert scores.precision_macro == pytest.approx(1)
    assert scores.f1_macro == pytest.approx((6 / 7 + 1) / 2)
    assert [(one.label, one.num_photos, one.recall) for one in per_class(labels, predicted, "abc")] == [
        ("a", 4, 0.75), ("b", 0, None), ("c", 4, 1.0),
    ]  # fmt: skip
