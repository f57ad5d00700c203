"""Epochs of a real small network: what is kept, what is resumed, when it stops."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tledge.errors import ArtifactError, InputError
from tledge.progress import Silent
from tledge.training.batches import activations, validation_batches
from tledge.training.checkpoint import STATE, Checkpoint
from tledge.training.loop import Data, State, _optimizer, train_network
from tledge.training.recipe import Recipe

LABELS = np.arange(60) % 3
INPUTS = (np.eye(3)[LABELS] + np.random.default_rng(0).normal(0, 0.4, (60, 3))).astype(np.float32)
ROWS = np.arange(40)
ONES = np.ones(3, np.float32)
RECIPE = Recipe(
    max_epochs=6, patience=6, batch_size=16, learning_rate=0.05, schedule="cosine", warmup_epochs=1, weight_decay=0.01,
    average_decay=0.9, label_smoothing=0.1,
)  # fmt: skip


def _network() -> Any:
    from tledge.tensorflow_setup import tensorflow

    tensorflow(0)
    import tf_keras

    inputs = tf_keras.Input((3,))
    hidden = tf_keras.layers.Dense(8, "relu")(inputs)
    return tf_keras.Model(inputs, tf_keras.layers.Dense(3, kernel_initializer="zeros")(hidden))


def _data() -> Data:
    return Data(
        activations(lambda epoch, rows: INPUTS[rows].astype(np.float16), (3,), LABELS, ROWS, ONES, RECIPE, 0),
        validation_batches(lambda start, stop: INPUTS[40:][start:stop], (3,), LABELS[40:], 3),
        3,
    )


def _train(
    recipe: Recipe = RECIPE, folder: Path | None = None, identity: str = "one", **options: Any
) -> tuple[State, Any]:
    network = _network()
    return train_network(network, _data(), recipe, Silent(), Checkpoint(folder, identity), **options), network


class _Killed(Exception):
    pass


@pytest.mark.long
@pytest.mark.parametrize("schedule", ["cosine", "plateau", "constant"])
def test_a_training_that_was_killed_ends_as_an_unbroken_one(tmp_path: Path, schedule: str) -> None:
    recipe = RECIPE.model_copy(update={"schedule": schedule})
    unbroken, whole = _train(recipe)

    def die(epoch: int, row: dict[str, float]) -> None:
        if epoch == 4:  # after it was trained, before it was saved
            raise _Killed

    with pytest.raises(_Killed):
        _train(recipe, tmp_path, on_epoch=die)
    resumed, network = _train(recipe, tmp_path)
    assert len(resumed.history) == 6
    for before, after in zip(unbroken.history, resumed.history, strict=True):
        assert after == pytest.approx(before, rel=1e-5)
    for before, after in zip(whole.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-6)


def test_the_state_of_another_training_and_a_damaged_one_are_refused(tmp_path: Path) -> None:
    _train(folder=tmp_path)
    with pytest.raises(ArtifactError, match="of other photos"):
        _train(folder=tmp_path, identity="two")
    whole = (tmp_path / STATE).read_bytes()
    changed = bytearray(whole)
    changed[len(whole) // 2] ^= 1
    for damaged in (b"no archive", b"", whole[:100], whole[: len(whole) // 2], whole[:-1], bytes(changed)):
        (tmp_path / STATE).write_bytes(damaged)
        with pytest.raises(ArtifactError, match="not a state of this training"):
            _train(folder=tmp_path)


@pytest.mark.long
def test_the_network_ends_with_the_averaged_weights_of_the_best_epoch() -> None:
    state, network = _train()
    losses = [row["val_loss"] for row in state.history]
    assert state.best_epoch == int(np.argmin(losses)) + 1
    scored = network.evaluate(_data().validation, verbose=0, return_dict=True)
    assert scored["loss"] == pytest.approx(min(losses), rel=1e-5)
    plain, _ = _train(RECIPE.model_copy(update={"average_decay": 0.0}))
    assert plain.history != state.history


def test_it_stops_when_patience_ends_and_a_plateau_lowers_the_rate() -> None:
    recipe = RECIPE.model_copy(
        update={"learning_rate": 3.0, "schedule": "plateau", "patience": 2, "max_epochs": 40, "average_decay": 0.0}
    )
    state, _ = _train(recipe)
    assert len(state.history) == min(40, state.best_epoch + 2)
    assert state.learning_rate < 3.0


def test_no_epoch_begins_that_would_end_after_the_deadline() -> None:
    state, _ = _train(RECIPE.model_copy(update={"max_epochs": 1000, "patience": 1000}), deadline=time.monotonic() + 3)
    assert 1 <= len(state.history) < 1000
    with pytest.raises(InputError, match="ended before the first epoch"):
        train_network(_network(), _data(), RECIPE, Silent(), Checkpoint(None, ""), deadline=time.monotonic() - 1)


def test_a_loss_that_leaves_the_numbers_is_an_error_with_the_way_out() -> None:
    broken = Data(
        activations(
            lambda epoch, rows: np.full((len(rows), 3), np.inf, np.float16), (3,), LABELS, ROWS, ONES, RECIPE, 0
        ),
        _data().validation,
        3,
    )
    with pytest.raises(InputError, match=r"training diverged: .* Lower --learning-rate"):
        train_network(_network(), broken, RECIPE, Silent(), Checkpoint(None, ""))


def test_the_learning_rate_rises_over_the_warm_up_and_falls_as_a_cosine_to_zero() -> None:
    rate = _optimizer(RECIPE, num_steps=60, steps_per_epoch=10)._learning_rate
    rates = [float(rate(step)) for step in range(61)]
    assert rates[:11] == pytest.approx(np.linspace(0, RECIPE.learning_rate, 11))
    falling = RECIPE.learning_rate * (1 + np.cos(np.pi * np.arange(51) / 50)) / 2
    assert rates[10:] == pytest.approx(falling, abs=1e-8)
    flat = _optimizer(RECIPE.model_copy(update={"schedule": "constant"}), num_steps=60, steps_per_epoch=10)
    assert float(flat.learning_rate) == pytest.approx(RECIPE.learning_rate)


def test_kernels_decay_without_a_gradient_and_biases_do_not() -> None:
    recipe = RECIPE.model_copy(update={"schedule": "constant", "weight_decay": 0.5})
    network = _network()
    optimizer = _optimizer(recipe, num_steps=10, steps_per_epoch=10)
    network.layers[-1].bias.assign(np.ones(3))
    before = network.get_weights()
    optimizer.build(network.trainable_variables)
    optimizer.apply_gradients([(0 * variable, variable) for variable in network.trainable_variables])
    (kernel, *_, last_bias), (was, *_, last_was) = network.get_weights(), before
    np.testing.assert_allclose(kernel, was * (1 - recipe.learning_rate * recipe.weight_decay), rtol=1e-5)
    assert np.array_equal(last_bias, last_was)


def test_the_loss_is_that_of_smoothed_labels() -> None:
    recipe = RECIPE.model_copy(update={"max_epochs": 1, "label_smoothing": 0.3, "average_decay": 0.0})
    state, network = _train(recipe)
    logits = network(INPUTS[40:]).numpy()
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    wanted = 0.7 * np.eye(3)[LABELS[40:]] + 0.1
    assert state.history[0]["val_loss"] == pytest.approx(
        -float((wanted * log_probabilities).sum(axis=1).mean()), rel=1e-4
    )


def test_class_weights_weigh_the_loss_of_a_network() -> None:
    weights = np.array([0.5, 1.0, 1.5], np.float32)
    still = RECIPE.model_copy(update={"max_epochs": 1, "learning_rate": 1e-9, "label_smoothing": 0.0})
    data = Data(
        activations(lambda epoch, rows: INPUTS[rows].astype(np.float16), (3,), LABELS, ROWS, weights, still, 0),
        _data().validation,
        3,
    )
    state = train_network(_network(), data, still, Silent(), Checkpoint(None, "one"))
    # The last layer starts at zero, so that every class has a third.
    assert state.history[0]["loss"] == pytest.approx(np.log(3) * weights[LABELS[ROWS]].mean(), rel=1e-3)
