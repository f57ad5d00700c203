"""Scores counted from a confusion matrix are those of scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest

from tledge.inference.scores import metrics, per_class
from tledge.training.metrics import metrics_of


def test_scores_are_the_ones_of_build_where_every_class_occurs() -> None:
    rng = np.random.default_rng(0)
    labels = np.concatenate([np.arange(5), rng.integers(0, 5, 200)])
    answers = rng.normal(size=(205, 5)).astype(np.float32)
    answers[:, 4] = -9  # a class that is never predicted
    confusion = np.zeros((5, 5), np.int64)
    np.add.at(confusion, (labels, answers.argmax(axis=1)), 1)
    mine, theirs = metrics(confusion).as_json(), metrics_of(labels, answers).as_json()
    assert mine.pop("confusion_matrix") == theirs.pop("confusion_matrix")
    assert mine == pytest.approx(theirs)


def test_a_class_that_the_data_lacks_lowers_no_average() -> None:
    confusion = np.array([[3, 1, 0], [0, 0, 0], [0, 0, 4]])
    scores = metrics(confusion)
    assert scores.recall_macro == pytest.approx((3 / 4 + 1) / 2)
    assert scores.precision_macro == pytest.approx(1)
    assert scores.f1_macro == pytest.approx((6 / 7 + 1) / 2)
    assert [(one.label, one.num_photos, one.recall) for one in per_class(confusion, "abc")] == [
        ("a", 4, 0.75), ("b", 0, None), ("c", 4, 1.0),
    ]  # fmt: skip
