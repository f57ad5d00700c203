"""This module trains the head on cached features, and keeps the weights of its best epoch."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tledge.cache import CachedRows
from tledge.classifier import LINEAR
from tledge.classifier.network import HeadShape
from tledge.errors import InputError
from tledge.progress import Progress
from tledge.training import linear_head
from tledge.training.batches import class_weights
from tledge.training.hidden_head import HiddenHead
from tledge.training.linear_head import LinearHead
from tledge.training.recipe import Recipe

HISTORY_COLUMNS = ("loss", "accuracy", "val_loss", "val_accuracy")
MAX_SCALE = 1e18  # largest scale of the features: its square still fits float32
_BLOCK_BYTES = 2**26  # bytes of features in memory at a time, unless a batch has more
# A linear head reads its photos some hundred times: rereading them each time takes longer than all the rest.
_LINEAR_BLOCK_BYTES = 2**29
_FEW_BYTES = 2**26  # bytes of features for which one thread is enough
# Copies of float32 numbers that are in memory at a time. A head that is trained in steps holds a block as read,
# centred, scaled, with features dropped and so on; its weights, the best ones, their gradients and two moments. A linear
# head holds a block as read, centred, along the axes, and a spare one; each head's logits of a block; the axes and their
# inputs.
_BLOCK_COPIES, _BATCH_COPIES, _WEIGHT_COPIES = 4, 6, 5
_ANSWER_COPIES, _AXES_COPIES = 4 * (1 + linear_head.NUM_FOLDS), 6
_SPREAD = 0.5  # RMS deviation of the features that the head sees; the default learning rate fits it
Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Layers = tuple[tuple[Floats, Floats], ...]


class Diverged(InputError):
    """This error says that the loss of a training is no longer finite."""


@dataclass(frozen=True)
class Head:
    """A trained head holds its layers and the history of its training.

    A layer is a kernel float32 (inputs, outputs) and a bias float32 (outputs,), with a ReLU between two layers.
    ``history`` has one row per epoch with the columns :data:`HISTORY_COLUMNS`. ``best_epoch`` counts from 1.
    """

    layers: Layers
    history: list[dict[str, float]]
    best_epoch: int

    def logits(self, features: Floats) -> Floats:
        """Compute the logits, float32 (N, num_classes), from features float32 (N, feature_dim)."""
        values = features
        for number, (kernel, bias) in enumerate(self.layers):
            values = (np.maximum(values, 0) if number else values) @ kernel + bias
        return values


class Training(Protocol):
    """A training is one way to fit a head, for at most ``max_epochs``.

    It ends after ``patience`` epochs without a better result on the validation photos.
    """

    max_epochs: int
    patience: int

    def train(self, epoch: int) -> tuple[float, float]:
        """Train for one epoch, where 1 is the first, and return mean loss and accuracy on the training photos."""

    def validate(self) -> tuple[float, float, tuple[float, ...]]:
        """Return mean loss and accuracy on the validation photos, and the values whose lowest chooses the epoch."""

    def layers(self) -> Layers:
        """Return the head's layers as they are now, for features as this training scales them."""


def fit_head(
    features: CachedRows,
    labels: Labels,
    train: Labels,
    validation: Labels,
    num_classes: int,
    recipe: Recipe,
    seed: int,
    progress: Progress,
    on_epoch: Callable[[int, dict[str, float]], None] = lambda epoch, row: None,
) -> Head:
    """Train a head on smoothed cross-entropy, and return it with the weights of its best epoch.

    :class:`LinearHead` fits a linear head, and :class:`HiddenHead` one with hidden layers. Features are centred and
    scaled by one number, so that one learning rate fits every backbone. Both are folded into the returned head. (A
    scale for each feature would also enlarge features that hardly vary.) The same arguments give the same weights.

    Args:
        features: the features of all photos and views, float32 (feature_dim,) each.
        labels: the classes that belong to the features.
        train: row numbers of ``features`` and ``labels``, int64 (N,), or (views, N) with the views of one photo in a
            column.
        validation: row numbers of the validation photos.
        num_classes: the number of classes.
        recipe: how to train.
        seed: draws the order of the photos and the first weights of hidden layers.
        progress: is told of the epochs.
        on_epoch: is given each epoch's number, from 1, and its row of the history. An error that it raises ends the
            training.

    Raises:
        Diverged: the loss is no longer finite.
        InputError: the features are not finite, too large, or all the same.
    """
    views = np.atleast_2d(train)
    weights = class_weights(labels[views[0]], num_classes, recipe.class_weights)
    mean, scale = _centre_and_scale(features, views.ravel())
    factor, at_once = np.float32(_SPREAD) / scale, _block(recipe, features.row_shape[0])
    with contextlib.ExitStack() as stack:
        training: Training
        if recipe.head == LINEAR:

            def read(rows: Labels) -> linear_head.Blocks:
                blocks = _Blocks(features, rows, mean, factor, at_once)
                return list(blocks) if len(rows) <= at_once else blocks

            if views.size <= _FEW_BYTES // (4 * len(mean)):
                stack.enter_context(linear_head.one_thread())
            training = LinearHead(read, labels, views, validation, weights, recipe.label_smoothing)
        else:
            training = HiddenHead(features, labels, views, validation, mean, factor, weights, recipe, seed, at_once)
        best = _best(training, recipe, progress, on_epoch)
    (kernel, bias), *others = best.layers
    kernel = kernel * factor
    return Head(((kernel, bias - mean @ kernel), *others), best.history, best.best_epoch)


def _best(
    training: Training, recipe: Recipe, progress: Progress, on_epoch: Callable[[int, dict[str, float]], None]
) -> Head:
    """Train to the last epoch, or until the patience ends, and return the head of the best epoch.

    The head is for features as ``training`` sees them. Raises Diverged where the loss is no longer finite.
    """
    history: list[dict[str, float]] = []
    lowest: tuple[float, ...] = (np.inf,)
    best_epoch, layers = 0, training.layers()
    num_epochs = min(recipe.max_epochs, training.max_epochs)
    with progress.step("training the head", num_epochs) as advance:
        for epoch in range(1, num_epochs + 1):
            loss, accuracy = training.train(epoch)
            val_loss, val_accuracy, judged = training.validate()
            history.append(dict(zip(HISTORY_COLUMNS, (loss, accuracy, val_loss, val_accuracy), strict=True)))
            advance(1)
            if not np.isfinite([loss, *judged]).all():
                raise Diverged(_diverged(recipe, epoch))
            on_epoch(epoch, history[-1])
            if judged < lowest:
                lowest, best_epoch, layers = judged, epoch, training.layers()
            elif epoch - best_epoch >= min(recipe.patience, training.patience):
                break
        advance(num_epochs - epoch)  # the training may stop early, but the progress step is done
    return Head(layers, history, best_epoch)


def _diverged(recipe: Recipe, epoch: int) -> str:
    if recipe.head == LINEAR:
        return "the backbone gives features of validation photos that are not finite or too large. Choose another --backbone."
    return (
        f"training diverged: the loss is not finite after {epoch} epochs. Lower --learning-rate {recipe.learning_rate}."
    )


class _Blocks:
    """These blocks hold features as the head sees them, float32 (n, feature_dim).

    They are read anew in each iteration.
    """

    def __init__(self, features: CachedRows, rows: Labels, mean: Floats, factor: np.float32, at_once: int) -> None:
        self._features, self._rows, self._at_once = features, rows, at_once
        self._mean, self._factor = mean, factor

    def __iter__(self) -> Iterator[Floats]:
        for start in range(0, len(self._rows), self._at_once):
            values = np.asarray(self._features[self._rows[start : start + self._at_once]], np.float32) - self._mean
            values *= self._factor
            yield values


def needed_memory(recipe: Recipe, num_photos: int, feature_dim: int, num_classes: int) -> int:
    """Estimate the most bytes that the training holds at once.

    They are copies of a block of features, of a batch and of the weights.
    """
    row_bytes = 4 * feature_dim
    widths = [feature_dim, *HeadShape.of(recipe.head, num_classes, 0).hidden_units, num_classes]
    num_weights = sum((inputs + 1) * outputs for inputs, outputs in itertools.pairwise(widths))
    block = min(num_photos, _block(recipe, feature_dim))
    if recipe.head == LINEAR:
        block_numbers = (_BLOCK_COPIES * feature_dim + _ANSWER_COPIES * num_classes) * block
        axes_numbers = _AXES_COPIES * min(feature_dim, linear_head.MOST_AXES) ** 2
        return 4 * (block_numbers + axes_numbers + linear_head.WEIGHT_COPIES * num_weights)
    batch, hidden_bytes = min(num_photos, recipe.batch_size), 4 * sum(widths[1:])
    return (
        (row_bytes * _BLOCK_COPIES * block)
        + (row_bytes + hidden_bytes) * _BATCH_COPIES * batch
        + (4 * _WEIGHT_COPIES * num_weights)
    )


def _block(recipe: Recipe, feature_dim: int) -> int:
    """Return how many rows of features are read at a time: whole batches, where the head is trained in batches."""
    if recipe.head == LINEAR:
        return max(1, _LINEAR_BLOCK_BYTES // (4 * feature_dim))
    return recipe.batch_size * max(1, _BLOCK_BYTES // (4 * feature_dim * recipe.batch_size))


def _centre_and_scale(features: CachedRows, rows: Labels) -> tuple[Floats, np.float32]:
    """Compute the mean of each feature over ``rows``, float32 (feature_dim,), and the RMS of all deviations from it.

    Raises InputError for features that are not finite, too large, or the same for every photo.
    """
    total = squares = np.zeros(features.row_shape, np.float64)
    at_once = max(1, min(1024, _BLOCK_BYTES // (4 * len(total))))
    for batch in features.select(rows).batches(at_once):
        values = np.asarray(batch, np.float64)
        total, squares = total + values.sum(axis=0), squares + (values**2).sum(axis=0)
    mean = total / len(rows)
    with np.errstate(invalid="ignore"):  # a scale that is not finite is refused below
        scale = np.sqrt(np.mean(np.maximum(squares / len(rows) - mean**2, 0.0)))
    if not scale < MAX_SCALE:
        raise InputError("the backbone gives features that are not finite or too large. Choose another --backbone.")
    if not scale > 0:
        raise InputError("the backbone gives the same features for every training photo. Choose another --backbone.")
    return mean.astype(np.float32), np.float32(scale)
