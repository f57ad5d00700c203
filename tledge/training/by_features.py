"""This module trains the head alone, on features that the frozen backbone computes once."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from tledge.backbones import Backbone
from tledge.cache import CachedRows, Checked, scratch_folder, store_checked
from tledge.datasets.prepare import Dataset
from tledge.progress import Progress
from tledge.records import FeatureRecord
from tledge.training import features, fit, saved_model
from tledge.training.method import Floats, Indices, Task, Trained
from tledge.training.needs import Memory, Needs, Plan
from tledge.training.recipe import Recipe

_T = TypeVar("_T")
_ANSWERED = 8192  # photos whose features are in memory at a time, while logits are computed
OnEpoch = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True)
class HeadData:
    """A head is trained on this data and judged by it; the test split is not in it.

    ``features``, float32 (feature_dim,) each, and ``labels``, int64, belong to the same photos and views. ``train`` and
    ``validation`` are row numbers of both. ``train`` is int64 (1 + views, N), and its first row has the unchanged
    photos. ``validation`` is int64 (M,).
    """

    features: CachedRows
    labels: Indices
    train: Indices
    validation: Indices
    record: FeatureRecord


def needs(plan: Plan) -> Needs:
    """Tell how much memory and disk a training of the head takes.

    Its batches and weights take memory. The features of photos and views that the cache lacks take disk.
    """
    backbone, recipe = plan.backbone, plan.recipe
    feature_dim, batch_size = backbone.feature_dim, recipe.batch_size
    memory = Memory(
        fit.needed_memory(recipe, plan.num_train, feature_dim, plan.num_classes),
        f"training the head {recipe.head} on batches of {batch_size:,} x {feature_dim:,} features",
        f"Use less than --batch-size {batch_size}, a smaller --head, or a --backbone with fewer features.",
    )
    num_new = plan.num_photos + plan.num_train * recipe.views - features.num_cached(backbone)
    return Needs((memory,), 4 * feature_dim * max(0, num_new))


def material(backbone: Backbone, data: Dataset, recipe: Recipe, seed: int, progress: Progress) -> HeadData:
    """Compute the features of the training photos, the views that ``recipe`` asks for, and the validation photos."""
    seen, views = _wanted(data, recipe, seed)
    rows, record = features.features_of(backbone, data, seen, progress, views)
    originals, changed = np.split(np.arange(len(rows)), [len(seen)])
    train, validation = np.split(originals, [len(data.splits.rows["train"])])
    labels = data.labels[data.splits.rows["train"]]
    return HeadData(
        rows,
        np.concatenate([data.labels[seen], np.tile(labels, recipe.views)]),
        np.concatenate([train, changed]).reshape(-1, len(train)),
        validation,
        record,
    )


def fit_on_features(
    task: Task, recipe: Recipe, on_epoch: OnEpoch = lambda epoch, row: None
) -> tuple[fit.Head, Floats, FeatureRecord]:
    """Train a head as ``recipe`` says.

    Returns the head, its logits on the validation split, and the record of what computed the features.
    """
    found = material(task.backbone, task.data, recipe, task.seed, task.progress)
    head = fit.fit_head(
        found.features, found.labels, found.train, found.validation,
        task.num_classes, recipe, task.seed, task.progress, on_epoch,
    )  # fmt: skip
    held_out = found.features.select(found.validation).batches(_ANSWERED)
    return head, np.concatenate([head.logits(np.asarray(batch, np.float32)) for batch in held_out]), found.record


def train(task: Task) -> Trained:
    """Train the head, and write the SavedModel."""
    progress = task.progress
    # The test photos need no head yet: TensorFlow computes their features while the head is trained.
    with scratch_folder() as folder, _beside(lambda goes_on: _test_features(task, folder, goes_on)) as beside:
        head, validation_logits, record = fit_on_features(task, task.recipe, task.on_epoch)
        original = saved_model.compose(task.backbone, head)
        with progress.step("writing the model"):
            saved_model.save(original, task.folder / "model")
        with progress.step("the original's answers on the test split"):
            found = beside.result()
            blocks = [found[start : start + _ANSWERED] for start in range(0, len(found), _ANSWERED)]
            test_logits = np.concatenate([saved_model.logits_of(original, block) for block in blocks])
    return Trained(
        recipe=task.recipe,
        history=head.history,
        best_epoch=head.best_epoch,
        validation_logits=validation_logits,
        test_logits=test_logits,
        features=record,
    )


def _wanted(data: Dataset, recipe: Recipe, seed: int) -> tuple[Indices, list[features.Photos]]:
    """Return the rows of the photos that are taken unchanged, and the augmented views of the training photos."""
    train, validation = data.splits.rows["train"], data.splits.rows["validation"]
    views = [features.in_a_view(data, train, recipe.augment, seed, number) for number in range(recipe.views)]
    return np.concatenate([train, validation]), views


def _test_features(task: Task, folder: Path, goes_on: Callable[[], bool]) -> Checked:
    """Compute the features of the test photos, float32 (N, feature_dim), and store them in ``folder``.

    Where ``goes_on`` says no, the computation stops, and some features are missing.
    """
    photos = features.as_they_are(task.data, task.rows("test"))
    found = features.by_tensorflow(task.backbone, photos.read(np.arange(len(photos.keys))), goes_on)
    return store_checked(folder / "test-features", found, (task.backbone.feature_dim,), np.float32)


@contextlib.contextmanager
def _beside(work: Callable[[Callable[[], bool]], _T]) -> Iterator[Future[_T]]:
    """Run ``work`` in a thread while the block runs.

    Where the block ends first, by an error or by Ctrl-C, the work is told to stop.
    """
    ended = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        try:
            yield pool.submit(work, lambda: not ended.is_set())
        finally:
            ended.set()
