"""This module decides where a network is cut: where the recipe says, or as far down as a time budget allows."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from tledge.backbones.cuts import cut_below, cut_points, split
from tledge.cache import cache_root
from tledge.errors import ArtifactError, InputError
from tledge.records import Record
from tledge.room import free_space, require_space
from tledge.training.checkpoint import identity
from tledge.training.cut_activations import activations_bytes
from tledge.training.method import Task
from tledge.training.recipe import Recipe

CUT = "cut.json"
_REMEDY = "Remove its folder and build again."
_STEPS = 2  # steps that are timed for each cut, after one that prepares
_RESERVE = 0.15  # share of the budget that is left for the work after the epochs and for an unsteady machine
_MIN_EPOCHS = 3


class Cut(Record):
    """``cut.json`` records the cut and the number of epochs that a time budget chose for an unfinished training.

    The cut is the place in the network above which layers are trained. A resumed training reads the file, because
    timing the steps again might choose another cut.
    """

    schema_version: int = 1
    training: str = Field(
        description="This is the SHA-256 of what the training starts from: data, backbone, input size, recipe and seed. "
        "Only a training with the same SHA-256 may use the file."
    )
    unfreeze_from: str
    max_epochs: int


def above_cut(task: Task, network: Any, started: float) -> tuple[Recipe, Any, Any]:
    """Return the recipe with its cut and epochs settled, the layers below the cut, and the layers above it.

    The layers above the cut are the trained ones. With a time budget, the cut is the lowest whose epochs fit into what
    is left of the budget since ``started``, a value of :func:`time.monotonic`. Training steps are timed, so another
    machine may choose another cut. Cuts whose activations do not fit on the cache's disk are left out. A resumed
    training keeps the cut and the epochs that it began with.

    Raises:
        InputError: the layer does not exist, or no cut can be trained within the budget.
        EnvironmentFault: no cut's activations have room.
        ArtifactError: a kept cut is damaged, or belongs to another training.
    """
    recipe = task.recipe
    if recipe.time_budget_s is not None:
        if cut := kept_cut(task):
            task.progress.say(f"trained from {cut.unfreeze_from}, {cut.max_epochs} epochs, as it was begun")
        else:
            cut = _chosen(task, network, recipe.time_budget_s, started)
        recipe = recipe.model_copy(update={"unfreeze_from": cut.unfreeze_from, "max_epochs": cut.max_epochs})
    lower, upper = split(network, cut_below(network, recipe.unfreeze_from or ""))
    return recipe, lower, upper


def smallest_shape(network: Any) -> tuple[int, ...]:
    """Return the shape of one photo's activations at the smallest cut that a time budget may choose."""
    return min((network.get_layer(name).output_shape[1:] for name in _narrow(network)), key=np.prod)


def kept_cut(task: Task) -> Cut | None:
    """Return the cut that a time budget chose before this training was interrupted; None where none was chosen.

    Raises ArtifactError for a cut that is damaged, or another training's.
    """
    if task.state is None or (cut := _read(task.state)) is None:
        return None
    if cut.training != identity(task):
        raise ArtifactError(f"{task.state / CUT}: of other photos, or another backbone, recipe or seed. {_REMEDY}")
    return cut


def kept_layer(state: Path | None) -> str | None:
    """Return the first trained layer by the ``cut.json`` in the folder ``state``, of any training; None if there is none."""
    cut = None if state is None else _read(state)
    return cut.unfreeze_from if cut else None


def _read(state: Path) -> Cut | None:
    return Cut.load(state / CUT, _REMEDY) if (state / CUT).is_file() else None


def _chosen(task: Task, network: Any, time_budget_s: float, started: float) -> Cut:
    """Choose the cut that the time budget allows on this machine now, and keep it with the state of the training."""
    recipe = task.recipe
    candidates = _with_room(task, network)
    left_s = time_budget_s * (1 - _RESERVE) - (time.monotonic() - started)
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
    fewest = min(_MIN_EPOCHS, recipe.max_epochs)
    if fitting < fewest:
        raise InputError(
            f"--time-budget {time_budget_s:g}s leaves no time for {fewest} epochs of even the last layers, "
            f"{epoch_s:.1f} s each. Give more, or use --recipe head."
        )
    first = split(network, candidates[low])[1].layers[1].name
    cut = Cut(training=identity(task), unfreeze_from=first, max_epochs=min(recipe.max_epochs, fitting))
    if task.state is not None:
        cut.save(task.state / CUT)
    task.progress.say(f"trained from {cut.unfreeze_from}, {cut.max_epochs} epochs of {epoch_s:.1f} s")
    return cut


def _with_room(task: Task, network: Any) -> list[str]:
    """List the cut points whose activations fit on the cache's disk, from the lowest up."""
    num_photos = len(task.rows("train")), len(task.rows("validation"))
    candidates = {
        name: activations_bytes(network.get_layer(name).output_shape[1:], *num_photos, task.recipe)
        for name in _narrow(network)
    }
    free = free_space(cache_root())
    found = [name for name, num_bytes in candidates.items() if num_bytes <= free]
    if not found:
        require_space(cache_root(), min(candidates.values()))
    if len(found) < len(candidates):
        task.progress.say(
            f"{len(candidates) - len(found)} of {len(candidates)} cuts are left out: {cache_root()} has no room for their "
            "activations"
        )
    return found


def _narrow(network: Any) -> list[str]:
    """List the cut points, from the lowest up, whose activations are at most twice the smallest below them."""
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
    """Estimate the seconds of an epoch above this cut; the gradients of some steps are computed and dropped."""
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
