"""This module trains a head with hidden layers by steps of Adam, in TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.cache import CachedRows
from tledge.classifier.network import HeadShape, with_head
from tledge.training.linear_head import log_shares
from tledge.training.recipe import Recipe

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
_LEAST_STEPS = 20  # steps in an epoch: with fewer, patience would end before the loss says anything


class HiddenHead:
    """A head with hidden layers is trained here, epoch by epoch.

    A pass over the data is a few calls into one graph. A step of so small a model costs less than the call that starts
    it; in Keras' own loop a pass takes three times as long. ``train`` is int64 (views, N): a column has the rows of one
    photo, and each pass shows the next of them. ``at_once`` is how many photos are read at a time, in whole batches.
    Features are centred by ``mean`` and then multiplied by ``factor``. ``of_class`` is the weight of each class in the
    loss.
    """

    def __init__(
        self,
        features: CachedRows,
        labels: Labels,
        train: Labels,
        validation: Labels,
        mean: Floats,
        factor: np.float32,
        of_class: Floats,
        recipe: Recipe,
        seed: int,
        at_once: int,
    ) -> None:
        import tf_keras

        from tledge.tensorflow_setup import tensorflow

        self._features, self._labels, self._views, self._validation = features, labels, train, validation
        self._at_once, self._order, self._num_passes = at_once, np.random.default_rng(seed), 0
        steps_a_pass = -(-train.shape[1] // recipe.batch_size)
        self.max_epochs, self.patience = recipe.max_epochs, recipe.patience
        self._passes_an_epoch = -(-_LEAST_STEPS // steps_a_pass)
        tf = tensorflow(seed)
        num_classes = len(of_class)
        inputs = tf_keras.Input((len(mean),))
        self._head = head = with_head(inputs, inputs, HeadShape.of(recipe.head, num_classes, recipe.dropout), seed)
        counts = np.bincount(labels[train[0]], minlength=num_classes) * of_class
        head.get_layer("logits").bias.assign(log_shares(counts))
        variables = head.trainable_variables
        optimizer = tf_keras.optimizers.Adam(recipe.learning_rate)
        optimizer.build(variables)
        weight = tf.constant(of_class)
        smoothed = tf_keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=recipe.label_smoothing, reduction="sum"
        )
        signature = [tf.TensorSpec([None, len(mean)], tf.float32), tf.TensorSpec([None], tf.int64)]

        def answer(values: Any, truth: Any, training: bool) -> tuple[Any, Any]:
            """Return the loss and the number of right answers, summed over a batch."""
            logits = head((values - mean) * factor, training=training)
            loss = smoothed(tf.one_hot(truth, num_classes), logits, tf.gather(weight, truth))
            return loss, tf.reduce_sum(tf.cast(tf.argmax(logits, axis=1) == truth, tf.float32))

        @tf.function(input_signature=signature)  # type: ignore[untyped-decorator]
        def train_pass(values: Any, truth: Any) -> Any:
            sums = tf.zeros(2)
            for start in tf.range(0, tf.shape(truth)[0], recipe.batch_size):
                part = slice(start, start + recipe.batch_size)
                with tf.GradientTape() as tape:
                    loss, right = answer(values[part], truth[part], True)
                    mean_loss = loss / tf.cast(tf.shape(truth[part])[0], tf.float32)
                # This does what apply_gradients does, whose strategy would keep every traced graph and its variables.
                for gradient, variable in zip(tape.gradient(mean_loss, variables), variables, strict=True):
                    optimizer.update_step(gradient, variable)
                optimizer.iterations.assign_add(1)
                sums += tf.stack([loss, right])
            return sums

        @tf.function(input_signature=signature, autograph=False)  # type: ignore[untyped-decorator]
        def score_pass(values: Any, truth: Any) -> Any:
            return tf.stack(answer(values, truth, False))

        self._train_pass, self._score_pass = train_pass, score_pass

    def train(self, epoch: int) -> tuple[float, float]:
        """Train for one epoch, and return mean loss and accuracy on the way, with dropout.

        An epoch is one pass over the photos, or several where they are few.
        """
        photos = np.arange(self._views.shape[1])
        passed = []
        for _ in range(self._passes_an_epoch):
            # Neighbouring photos begin with different views.
            shown = self._views[(self._num_passes + photos) % len(self._views), photos]
            passed.append(self._pass(self._train_pass, self._order.permutation(shown)))
            self._num_passes += 1
        loss, accuracy = np.mean(passed, axis=0)
        return float(loss), float(accuracy)

    def validate(self) -> tuple[float, float, tuple[float, ...]]:
        """Return mean loss and accuracy on the validation photos, and the loss once more, which chooses the epoch."""
        loss, accuracy = self._pass(self._score_pass, self._validation)
        return loss, accuracy, (loss,)

    def layers(self) -> tuple[tuple[Floats, Floats], ...]:
        """Return kernel and bias of each layer, for features that are centred and scaled."""
        values = self._head.get_weights()
        return tuple(zip(values[::2], values[1::2], strict=True))

    def _pass(self, function: Any, rows: Labels) -> tuple[float, float]:
        sums = np.zeros(2)
        for start in range(0, len(rows), self._at_once):
            block = rows[start : start + self._at_once]
            sums += function(np.asarray(self._features[block], np.float32), self._labels[block]).numpy()
        return float(sums[0] / len(rows)), float(sums[1] / len(rows))
