"""Where a network is cut in two: where the recipe says, or as far down as a time budget allows."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from tledge.backbones.cuts import cut_below, cut_points, split
from tledge.errors import InputError
from tledge.training.method import Task
from tledge.training.recipe import Recipe

_STEPS = 2  # timed of each cut, after one that prepares
_RESERVE = 0.15  # of the budget, for what comes after the epochs and for an unsteady machine
_MIN_EPOCHS = 3


def above_cut(task: Task, network: Any, started: float) -> tuple[Recipe, Any, Any]:
    """The recipe with its cut and epochs settled, the layers below the cut, and those above it, which are trained.

    With a time budget the cut is the lowest whose epochs fit into what is left of it since ``started``, of
    :func:`time.monotonic`: steps of training are timed, so another machine may choose another cut. Raises InputError
    for a layer that is not there, and for a budget in which no cut can be trained.
    """
    recipe = task.recipe
    if recipe.time_budget_s is None:
        lower, upper = split(network, cut_below(network, recipe.unfreeze_from or ""))
        return recipe, lower, upper
    candidates = _narrow(network)
    left_s = recipe.time_budget_s * (1 - _RESERVE) - (time.monotonic() - started)
    num_steps = -(-len(task.rows("train")) // recipe.batch_size)
    low, high = 0, len(candidates) - 1
    needed_s: dict[int, float] = {}
    with task.progress.step("choosing the cut"):
        while low < high:  # the higher the cut, the shorter an epoch
            middle = (low + high) // 2
            needed_s[middle] = _epoch_s(task, network, candidates[middle], num_steps) * recipe.max_epochs
            low, high = (low, middle) if needed_s[middle] <= left_s else (middle + 1, high)
        epoch_s = _epoch_s(task, network, candidates[low], num_steps)
    fitting = (
        int((left_s - (time.monotonic() - started)) / epoch_s) if low == len(candidates) - 1 else recipe.max_epochs
    )
    if fitting < _MIN_EPOCHS:
        raise InputError(
            f"--time-budget {recipe.time_budget_s:g}s leaves no time for {_MIN_EPOCHS} epochs of even the last layers, "
            f"{epoch_s:.1f} s each; give more, or use --recipe head"
        )
    lower, upper = split(network, candidates[low])
    settled = {"unfreeze_from": upper.layers[1].name, "max_epochs": min(recipe.max_epochs, fitting)}
    task.progress.say(f"trained from {settled['unfreeze_from']}, {settled['max_epochs']} epochs of {epoch_s:.1f} s")
    return recipe.model_copy(update=settled), lower, upper


def _narrow(network: Any) -> list[str]:
    """Cut points whose activations are at most twice as large as the smallest below them, from below."""
    found: list[str] = []
    smallest = np.inf
    pooled = next(number for number, layer in enumerate(network.layers) if len(layer.output_shape) == 2)
    points = set(cut_points(network))
    for layer in network.layers[1:pooled]:
        size = float(np.prod(layer.output_shape[1:]))
        if layer.name in points and size <= 2 * smallest:
            found.append(layer.name)
            smallest = min(smallest, size)
    return found


def _epoch_s(task: Task, network: Any, cut: str, num_steps: int) -> float:
    """Seconds of an epoch above this cut: gradients of some steps are computed and dropped."""
    import tensorflow as tf

    _, upper = split(network, cut)
    inputs = np.random.default_rng(0).random((task.recipe.batch_size, *upper.input_shape[1:]), np.float32)
    labels = np.zeros(task.recipe.batch_size, np.int64)

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def step() -> Any:
        with tf.GradientTape() as tape:
            logits = upper(inputs, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        return tape.gradient(loss, upper.trainable_variables)

    step()
    began = time.perf_counter()
    for _ in range(_STEPS):
        step()
    return (time.perf_counter() - began) / _STEPS * num_steps
