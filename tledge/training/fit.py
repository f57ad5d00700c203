"""Train the head on cached features."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.cache import Rows
from tledge.classifier.network import HeadShape, with_head
from tledge.errors import InputError
from tledge.progress import Progress
from tledge.training.batches import class_weights
from tledge.training.recipe import Recipe

HISTORY_COLUMNS = ("loss", "accuracy", "val_loss", "val_accuracy")
MAX_SCALE = 1e18  # of the features: its square still fits float32
_BLOCK_BYTES = 2**26  # of features in memory at a time, unless a batch has more
# In memory at a time: as read, centred, scaled, with features dropped and so on; of weights the best ones, their gradients,
# two moments.
_BLOCK_COPIES, _BATCH_COPIES, _WEIGHT_COPIES = 4, 6, 5
_SPREAD = 0.5  # deviation of the features that the head sees; the default learning rate goes with it
Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


class Diverged(InputError):
    """A training whose loss left the finite numbers."""


@dataclass(frozen=True)
class Head:
    """A trained head: layers of kernel float32 (inputs, outputs) and bias float32 (outputs,), a ReLU between two.

    ``history``: one row an epoch, columns :data:`HISTORY_COLUMNS`; ``best_epoch`` counts from 1.
    """

    layers: tuple[tuple[Floats, Floats], ...]
    history: list[dict[str, float]]
    best_epoch: int

    def logits(self, features: Floats) -> Floats:
        """float32 (N, feature_dim) to float32 (N, num_classes)."""
        values = features
        for number, (kernel, bias) in enumerate(self.layers):
            values = (np.maximum(values, 0) if number else values) @ kernel + bias
        return values


def fit_head(
    features: Rows,
    labels: Labels,
    train: Labels,
    validation: Labels,
    num_classes: int,
    recipe: Recipe,
    seed: int,
    progress: Progress,
    on_epoch: Callable[[int, dict[str, float]], None] = lambda epoch, row: None,
) -> Head:
    """Train with Adam on smoothed cross-entropy; keep the weights of the lowest validation loss.

    Features are centred, and scaled by one number, so that one learning rate fits every backbone; both are folded
    into the returned head. (A number for each feature would also raise those that hardly move.)
    ``train`` and ``validation`` are row numbers of ``features`` and ``labels``; ``train`` int64 (N,), or (views, N) where
    a column is one photo's views, of which each epoch shows the next. The same arguments give the same weights.
    ``on_epoch`` is given each epoch's number, from 1, and its row of the history; what it raises ends the training.
    Raises Diverged where the loss leaves the finite numbers.
    """
    views = np.atleast_2d(train)
    photos = np.arange(views.shape[1])
    weights = class_weights(labels[views[0]], num_classes, recipe.class_weights)
    scaling = _centre_and_scale(features, views.ravel())
    trainer = _Trainer(features, labels, num_classes, *scaling, weights, recipe, seed)
    order = np.random.default_rng(seed)
    history: list[dict[str, float]] = []
    best, best_epoch, best_weights = np.inf, 0, trainer.weights()
    with progress.step("training the head", recipe.max_epochs) as advance:
        for epoch in range(1, recipe.max_epochs + 1):
            # Each photo begins with another view than its neighbours.
            shown = views[(epoch - 1 + photos) % len(views), photos]
            loss, accuracy = trainer.train(order.permutation(shown))
            val_loss, val_accuracy = trainer.score(validation)
            history.append(dict(zip(HISTORY_COLUMNS, (loss, accuracy, val_loss, val_accuracy), strict=True)))
            advance(1)
            if not np.isfinite(loss + val_loss):
                raise Diverged(
                    f"training diverged: the loss is not finite after {epoch} epochs. "
                    f"Lower --learning-rate {recipe.learning_rate}."
                )
            on_epoch(epoch, history[-1])
            if val_loss < best:
                best, best_epoch, best_weights = val_loss, epoch, trainer.weights()
            elif epoch - best_epoch >= recipe.patience:
                break
        advance(recipe.max_epochs - epoch)  # it stopped early: the step is done all the same
    return Head(best_weights, history, best_epoch)


class _Trainer:
    """The head in TensorFlow. A pass over the data is a few calls into one graph: each step of so small a model
    costs less than what leads into it, in Keras' own loop three times over."""

    def __init__(
        self,
        features: Rows,
        labels: Labels,
        num_classes: int,
        mean: Floats,
        scale: np.float32,
        weights: Floats,
        recipe: Recipe,
        seed: int,
    ) -> None:
        import tf_keras

        from tledge.tensorflow_setup import tensorflow

        self._features, self._labels = features, labels
        self._block = _block(recipe, len(mean))
        self._mean, self._factor = mean, np.float32(_SPREAD) / scale
        tf = tensorflow(seed)
        features = tf_keras.Input((len(mean),))
        self._head = head = with_head(features, features, HeadShape.of(recipe.head, num_classes, recipe.dropout), seed)
        variables = head.trainable_variables
        optimizer = tf_keras.optimizers.Adam(recipe.learning_rate)
        optimizer.build(variables)
        of_class = tf.constant(weights)
        smoothed = tf_keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=recipe.label_smoothing, reduction="sum"
        )
        signature = [tf.TensorSpec([None, len(mean)], tf.float32), tf.TensorSpec([None], tf.int64)]

        def answer(inputs: Any, truth: Any, training: bool) -> tuple[Any, Any]:
            """Loss and number of right answers, summed over a batch."""
            logits = head((inputs - self._mean) * self._factor, training=training)
            loss = smoothed(tf.one_hot(truth, num_classes), logits, tf.gather(of_class, truth))
            return loss, tf.reduce_sum(tf.cast(tf.argmax(logits, axis=1) == truth, tf.float32))

        @tf.function(input_signature=signature)  # type: ignore[untyped-decorator]
        def train(inputs: Any, truth: Any) -> Any:
            sums = tf.zeros(2)
            for start in tf.range(0, tf.shape(truth)[0], recipe.batch_size):
                part = slice(start, start + recipe.batch_size)
                with tf.GradientTape() as tape:
                    loss, right = answer(inputs[part], truth[part], True)
                    mean_loss = loss / tf.cast(tf.shape(truth[part])[0], tf.float32)
                # What apply_gradients does, but for a strategy that keeps every graph it was traced in, and its variables.
                for gradient, variable in zip(tape.gradient(mean_loss, variables), variables, strict=True):
                    optimizer.update_step(gradient, variable)
                optimizer.iterations.assign_add(1)
                sums += tf.stack([loss, right])
            return sums

        @tf.function(input_signature=signature, autograph=False)  # type: ignore[untyped-decorator]
        def score(inputs: Any, truth: Any) -> Any:
            return tf.stack(answer(inputs, truth, False))

        self._train, self._score = train, score

    def train(self, rows: Labels) -> tuple[float, float]:
        """One pass over ``rows`` in their order; mean loss and accuracy on the way, with dropout."""
        return self._pass(self._train, rows)

    def score(self, rows: Labels) -> tuple[float, float]:
        """Mean loss and accuracy on ``rows``."""
        return self._pass(self._score, rows)

    def _pass(self, function: Any, rows: Labels) -> tuple[float, float]:
        sums = np.zeros(2)
        for start in range(0, len(rows), self._block):
            block = rows[start : start + self._block]
            sums += function(np.asarray(self._features[block], np.float32), self._labels[block]).numpy()
        return float(sums[0] / len(rows)), float(sums[1] / len(rows))

    def weights(self) -> tuple[tuple[Floats, Floats], ...]:
        """The head's layers for features as they come: centre and scale are folded into the first."""
        values = self._head.get_weights()
        (kernel, bias), *others = zip(values[::2], values[1::2], strict=True)
        folded = kernel * self._factor
        return (folded, bias - self._mean @ folded), *others


def needed_memory(recipe: Recipe, num_photos: int, feature_dim: int, num_classes: int) -> int:
    """Bytes that the training holds at once at most, about: some copies of a block of features, of a batch, of the weights."""
    row_bytes = 4 * feature_dim
    block, batch = (min(num_photos, rows) for rows in (_block(recipe, feature_dim), recipe.batch_size))
    widths = [feature_dim, *HeadShape.of(recipe.head, num_classes, 0).hidden_units, num_classes]
    num_weights = sum((inputs + 1) * outputs for inputs, outputs in itertools.pairwise(widths))
    hidden_bytes = 4 * sum(widths[1:])
    return (
        (row_bytes * _BLOCK_COPIES * block)
        + (row_bytes + hidden_bytes) * _BATCH_COPIES * batch
        + (4 * _WEIGHT_COPIES * num_weights)
    )


def _block(recipe: Recipe, feature_dim: int) -> int:
    """Rows of features that are read at a time: whole batches."""
    return recipe.batch_size * max(1, _BLOCK_BYTES // (4 * feature_dim * recipe.batch_size))


def _centre_and_scale(features: Rows, rows: Labels) -> tuple[Floats, np.float32]:
    """Mean of each feature over ``rows``, float32 (feature_dim,), and the root mean square of their deviations."""
    total = squares = np.zeros(features.row_shape, np.float64)
    at_once = max(1, min(1024, _BLOCK_BYTES // (4 * len(total))))
    for batch in features.select(rows).batches(at_once):
        values = np.asarray(batch, np.float64)
        total, squares = total + values.sum(axis=0), squares + (values**2).sum(axis=0)
    mean = total / len(rows)
    with np.errstate(invalid="ignore"):  # what is not finite is refused below
        scale = np.sqrt(np.mean(np.maximum(squares / len(rows) - mean**2, 0.0)))
    if not scale < MAX_SCALE:
        raise InputError("the backbone gives features that are not finite or too large; choose another --backbone")
    if not scale > 0:
        raise InputError("the backbone gives the same features for every training photo; choose another --backbone")
    return mean.astype(np.float32), np.float32(scale)
