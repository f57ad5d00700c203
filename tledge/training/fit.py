"""Train the head on cached features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.cache import Rows
from tledge.errors import InputError
from tledge.progress import Progress
from tledge.training.recipe import Recipe

HISTORY_COLUMNS = ("loss", "accuracy", "val_loss", "val_accuracy")
MAX_SCALE = 1e18  # of the features: its square still fits float32
_BLOCK = 4096  # rows of features in memory at a time
_SPREAD = 0.5  # deviation of the features that the head sees; the default learning rate goes with it
Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Head:
    """A trained linear head: logits = features @ kernel + bias.

    ``kernel`` float32 (feature_dim, num_classes), ``bias`` float32 (num_classes,);
    ``history``: one row an epoch, columns :data:`HISTORY_COLUMNS`; ``best_epoch`` counts from 1.
    """

    kernel: Floats
    bias: Floats
    history: list[dict[str, float]]
    best_epoch: int

    def logits(self, features: Floats) -> Floats:
        """float32 (N, feature_dim) to float32 (N, num_classes)."""
        return features @ self.kernel + self.bias


def fit_head(
    features: Rows,
    labels: Labels,
    train: Labels,
    validation: Labels,
    num_classes: int,
    recipe: Recipe,
    seed: int,
    progress: Progress,
) -> Head:
    """Train with Adam on smoothed cross-entropy; keep the weights of the lowest validation loss.

    Features are centred, and scaled by one number, so that one learning rate fits every backbone; both are folded
    into the returned head. (A number for each feature would also raise those that hardly move.)
    ``train`` and ``validation`` are row numbers of ``features`` and ``labels``. The same arguments give the same
    weights. Raises InputError where the loss leaves the finite numbers.
    """
    import tf_keras

    from tledge.tensorflow_setup import tensorflow

    tf = tensorflow(seed)
    width = features[0].shape[0]
    mean, scale = _centre_and_scale(features, train)
    head = tf_keras.Sequential(
        [
            tf_keras.layers.InputLayer((width,)),
            tf_keras.layers.Normalization(mean=mean, variance=np.full_like(mean, (scale / _SPREAD) ** 2)),
            tf_keras.layers.Dropout(recipe.dropout, seed=seed),
            tf_keras.layers.Dense(num_classes, name="logits"),
        ]
    )
    head.compile(
        tf_keras.optimizers.Adam(recipe.learning_rate),
        tf_keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=recipe.label_smoothing),
        metrics=["accuracy"],
        steps_per_execution=-(-len(train) // recipe.batch_size),  # an epoch a call
    )

    def batches(rows: Labels, shuffled: bool) -> Any:
        data = tf.data.Dataset.from_tensor_slices(rows)
        if shuffled:
            data = data.shuffle(len(rows), seed=seed, reshuffle_each_iteration=True)

        def gather(batch: Labels) -> tuple[Floats, Floats]:
            return np.asarray(features[batch], np.float32), np.eye(num_classes, dtype=np.float32)[labels[batch]]

        def load(batch: Any) -> tuple[Any, Any]:
            inputs, targets = tf.numpy_function(gather, [batch], (tf.float32, tf.float32))
            return tf.ensure_shape(inputs, [None, width]), tf.ensure_shape(targets, [None, num_classes])

        # Read in blocks, because each call out of the graph costs more than a step of so small a model.
        data = data.batch(_BLOCK).map(load).rebatch(recipe.batch_size).prefetch(2)
        return data.apply(tf.data.experimental.assert_cardinality(-(-len(rows) // recipe.batch_size)))

    stopper = tf_keras.callbacks.EarlyStopping("val_loss", patience=recipe.patience, restore_best_weights=True)
    with progress.step("training the head", recipe.max_epochs) as advance:
        fitted = head.fit(
            batches(train, shuffled=True),
            validation_data=batches(validation, shuffled=False),
            epochs=recipe.max_epochs,
            verbose=0,
            callbacks=[stopper, tf_keras.callbacks.TerminateOnNaN(), _each_epoch(lambda: advance(1))],
        )
        advance(recipe.max_epochs - len(fitted.epoch))  # it stopped early: the step is done all the same
    history = [
        {column: float(fitted.history[column][epoch]) for column in HISTORY_COLUMNS}
        for epoch in range(len(fitted.epoch))
    ]
    if not np.all(np.isfinite([row["val_loss"] for row in history])):
        raise InputError(
            f"training diverged: the loss is not finite after {len(history)} epochs. Lower --learning-rate {recipe.learning_rate}."
        )
    kernel, bias = head.get_layer("logits").get_weights()
    folded = kernel * (_SPREAD / scale)
    return Head(folded, bias - mean @ folded, history, int(stopper.best_epoch) + 1)


def _centre_and_scale(features: Rows, rows: Labels) -> tuple[Floats, np.float32]:
    """Mean of each feature over ``rows``, float32 (feature_dim,), and the root mean square of their deviations."""
    total = squares = np.zeros(features[0].shape, np.float64)
    for batch in features.select(rows).batches(1024):
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


def _each_epoch(function: Callable[[], None]) -> Any:
    import tf_keras

    return tf_keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: function())
