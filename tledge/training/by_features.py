"""The head alone, on features of the frozen backbone that are computed once."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from tledge.records import FeatureRecord
from tledge.training import features, fit, model
from tledge.training.method import Floats, Task, Trained
from tledge.training.recipe import Recipe

_T = TypeVar("_T")
OnEpoch = Callable[[int, dict[str, float]], None]


def fit_on_features(
    task: Task, recipe: Recipe, on_epoch: OnEpoch = lambda epoch, row: None
) -> tuple[fit.Head, Floats, FeatureRecord]:
    """The head that ``recipe`` trains, its logits on the validation split, and what computed the features."""
    seen = task.rows("train", "validation")  # the head never meets the test split
    rows, record = features.features_of(task.backbone, task.data, seen, task.progress)
    train, validation = np.split(np.arange(len(seen)), [len(task.rows("train"))])
    labels = task.data.labels[seen]
    head = fit.fit_head(rows, labels, train, validation, task.num_classes, recipe, task.seed, task.progress, on_epoch)
    return head, head.logits(np.asarray(rows[validation], np.float32)), record


def train(task: Task) -> Trained:
    """Train the head, and write the SavedModel."""
    backbone, data, progress = task.backbone, task.data, task.progress
    # The test photos need no head yet: TensorFlow computes their features while the head is trained.
    with _beside(
        lambda goes_on: features.tensorflow_features(backbone, data.pixels.select(task.rows("test")), goes_on)
    ) as beside:
        head, validation_logits, record = fit_on_features(task, task.recipe, task.on_epoch)
        original = model.compose(backbone, head)
        with progress.step("writing the model"):
            model.save(original, task.folder / "model")
        with progress.step("the original's answers on the test split"):
            test_logits = model.logits_of(original, beside.result())
    return Trained(
        recipe=task.recipe,
        history=head.history,
        best_epoch=head.best_epoch,
        validation_logits=validation_logits,
        test_logits=test_logits,
        features=record,
    )


@contextlib.contextmanager
def _beside(work: Callable[[Callable[[], bool]], _T]) -> Iterator[Future[_T]]:
    """Run ``work`` in a thread meanwhile. It is told to stop where the block ends before it: by an error, by Ctrl-C."""
    ended = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        try:
            yield pool.submit(work, lambda: not ended.is_set())
        finally:
            ended.set()
