"""This module trains a Keras network epoch by epoch, from a state that can be saved and resumed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tledge.errors import InputError
from tledge.progress import Progress
from tledge.training.batches import own_errors
from tledge.training.fit import HISTORY_COLUMNS
from tledge.training.recipe import Recipe

PLATEAU_FACTOR = 1 / 3
Dataset = Any  # a tf.data.Dataset


@dataclass
class State:
    """A state says where a training is after ``len(history)`` epochs.

    ``best_weights`` are the weights of the best epoch, averaged if the recipe asks for it.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best_weights: list[Any] = field(default_factory=list)
    learning_rate: float = 0.0

    @property
    def best_loss(self) -> float:
        """Return the lowest validation loss so far; infinity before the first epoch."""
        return self.history[self.best_epoch - 1]["val_loss"] if self.best_epoch else math.inf


@dataclass(frozen=True)
class Data:
    """These are the batches that an epoch reads.

    ``train(epoch)`` gives batches of inputs, one-hot labels and weights, which are different in each epoch.
    """

    train: Callable[[int], Dataset]
    validation: Dataset
    num_steps: int
    """The number of batches in one epoch."""
    num_scored: int | None = None
    """The number of batches of the validation photos; None takes all that there are."""


def train_network(
    network: Any,
    data: Data,
    recipe: Recipe,
    progress: Progress,
    checkpoint: Any,
    on_epoch: Callable[[int, dict[str, float]], None] = lambda epoch, row: None,
    deadline: float = math.inf,
) -> State:
    """Train ``network``, which returns logits, and leave it with the weights of the lowest validation loss.

    ``checkpoint`` is a :class:`tledge.training.checkpoint.Checkpoint`; training goes on from the state that it holds.
    ``deadline`` is a value of :func:`time.monotonic`; no epoch begins that would end after it.
    Raises InputError where the loss is no longer finite, or where the deadline came before the first epoch.
    """
    import tf_keras

    num_epochs = recipe.max_epochs
    optimizer = _optimizer(recipe, num_epochs * data.num_steps, data.num_steps)
    # The network is compiled here, so that the optimizer's variables belong to the strategy that made the network's.
    network.compile(
        optimizer,
        tf_keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=recipe.label_smoothing),
        weighted_metrics=[tf_keras.metrics.CategoricalAccuracy(name="accuracy")],
    )
    optimizer.build(network.trainable_variables)
    average = _Average(network, recipe.average_decay) if recipe.average_decay else None
    state: State = checkpoint.restore(network, optimizer, average)
    if not state.learning_rate:
        state.learning_rate = recipe.learning_rate
    with progress.step("training", num_epochs) as advance:
        advance(len(state.history))
        epoch_s = 0.0
        for epoch in range(len(state.history) + 1, num_epochs + 1):
            if epoch - state.best_epoch > recipe.patience and state.best_epoch:
                break
            if time.monotonic() + epoch_s > deadline:
                progress.warn(f"the time budget ended the training after {epoch - 1} of {num_epochs} epochs")
                break
            began = time.monotonic()
            if recipe.schedule == "plateau":
                optimizer.learning_rate.assign(state.learning_rate)
            callbacks = [average.callback] if average else []
            with own_errors():
                seen = network.fit(
                    data.train(epoch), steps_per_epoch=data.num_steps, epochs=1, verbose=0, callbacks=callbacks
                ).history
                deployed = average.swap() if average else None
                scored = network.evaluate(data.validation, steps=data.num_scored, verbose=0, return_dict=True)
            row = (seen["loss"][0], seen["accuracy"][0], scored["loss"], scored["accuracy"])
            state.history.append(dict(zip(HISTORY_COLUMNS, map(float, row), strict=True)))
            if not np.isfinite(row[0] + row[2]):
                raise InputError(
                    f"training diverged: the loss is not finite after {epoch} epochs. "
                    f"Lower --learning-rate {recipe.learning_rate}."
                )
            if row[2] < state.best_loss:
                state.best_epoch, state.best_weights = epoch, network.get_weights()
            elif recipe.schedule == "plateau" and (epoch - state.best_epoch) % max(1, recipe.patience // 2) == 0:
                state.learning_rate *= PLATEAU_FACTOR
            if average and deployed is not None:
                average.swap_back(deployed)
            on_epoch(epoch, state.history[-1])
            checkpoint.save(network, optimizer, average, state)
            advance(1)
            epoch_s = max(epoch_s, time.monotonic() - began) if epoch > 1 else 0.0
        advance(num_epochs - len(state.history))
    if not state.best_epoch:
        raise InputError("the time budget ended before the first epoch. Give more with --time-budget.")
    network.set_weights(state.best_weights)
    return state


def _optimizer(recipe: Recipe, num_steps: int, steps_per_epoch: int) -> Any:
    import tf_keras

    rate: Any = recipe.learning_rate
    warmup = round(recipe.warmup_epochs * steps_per_epoch)
    if recipe.schedule == "cosine":
        rate = tf_keras.optimizers.schedules.CosineDecay(
            0.0 if warmup else recipe.learning_rate,
            max(1, num_steps - warmup),
            warmup_target=recipe.learning_rate if warmup else None,
            warmup_steps=warmup,
        )
    optimizer = tf_keras.optimizers.AdamW(rate, weight_decay=recipe.weight_decay)
    # Weight decay of a bias or a normalization only takes away what the data ask for.
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


class _Average:
    """An average follows the trained weights exponentially, step by step (Polyak and Juditsky 1992)."""

    def __init__(self, network: Any, decay: float) -> None:
        import tensorflow as tf
        import tf_keras

        self._trained = network.trainable_variables
        self.values = [tf.Variable(variable, trainable=False) for variable in self._trained]
        self.steps = tf.Variable(0.0, trainable=False)

        @tf.function(autograph=False)  # type: ignore[untyped-decorator]
        def update() -> None:
            self.steps.assign_add(1.0)
            # Young averages follow their weights: the decay grows from 2/11 to its value.
            now = tf.minimum(decay, (1.0 + self.steps) / (10.0 + self.steps))
            for value, variable in zip(self.values, self._trained, strict=True):
                value.assign_sub((1.0 - now) * (value - variable))

        average = self

        class Follow(tf_keras.callbacks.Callback):  # type: ignore[misc]
            def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
                average._update()

        self._update = update
        self.callback = Follow()

    def swap(self) -> list[Any]:
        """Put the averages in place of the weights, and return the weights."""
        weights = [variable.numpy() for variable in self._trained]
        for value, variable in zip(self.values, self._trained, strict=True):
            variable.assign(value)
        return weights

    def swap_back(self, weights: list[Any]) -> None:
        """Put the weights back in place of the averages."""
        for value, variable in zip(weights, self._trained, strict=True):
            variable.assign(value)
