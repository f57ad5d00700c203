"""This module trains the network itself: the layers above a cut on stored activations, or all of it on photos."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tledge.backbones import Backbone, Opaque
from tledge.backbones.cuts import cut_below, split
from tledge.cache import CachedRows, scratch_folder
from tledge.classifier.network import HeadShape, classifier, save_network, set_head
from tledge.errors import InputError
from tledge.preprocessing import PIXEL_SCALE
from tledge.printable import sentence
from tledge.training import batches, by_features, cut_activations, saved_model
from tledge.training.batch_norm import estimate_again
from tledge.training.by_features import fit_on_features
from tledge.training.checkpoint import Checkpoint, identity
from tledge.training.cut_choice import above_cut, kept_cut, kept_layer, smallest_shape
from tledge.training.loop import Data, train_network
from tledge.training.method import Floats, Indices, Task, Trained
from tledge.training.needs import Needs, Plan
from tledge.training.placement import Workers, placed, workers
from tledge.training.recipe import HEAD, Recipe

_BATCH = 64
_PROOF_PHOTOS = 16


def needs(plan: Plan) -> Needs:
    """Tell how much memory and disk a training of the network takes.

    Batches take memory. The first head's features and the activations at the cut take disk. The cut that a time budget
    will choose is unknown yet, so the smallest possible one counts, unless an interrupted training chose before.
    Raises InputError where the layer to cut at does not exist.
    """
    recipe, met, size = plan.recipe, workers(plan.recipe), plan.backbone.input_size
    num_train = plan.num_train // met.count
    cut = _shape_at_cut(plan) if recipe.method == "cut" else None
    activations = cut_activations.activations_bytes(cut, num_train, 0, recipe) if cut else 0
    first = _first_head(recipe, plan.backbone)
    head = by_features.needs(replace(plan, recipe=first)) if first else Needs()
    ahead = batches.memory_ahead(_share(recipe, met), num_train, cut or (size, size, 3))
    return Needs((ahead, *head.memory), head.disk_bytes + activations)


def _shape_at_cut(plan: Plan) -> tuple[int, ...] | None:
    """Return the shape of a photo's activations at the cut; None for an opaque backbone, which can't be cut."""
    size = plan.backbone.input_size
    flat = plan.backbone.flat(np.empty((0, size, size, 3), np.uint8))
    if isinstance(flat, Opaque):
        return None
    graph: Any = flat.graph
    first = plan.recipe.unfreeze_from
    if plan.recipe.time_budget_s is not None:
        first = kept_layer(plan.state)
    shape = graph.get_layer(cut_below(graph, first)).output_shape[1:] if first else smallest_shape(graph)
    return tuple(shape)


def _first_head(recipe: Recipe, backbone: Backbone) -> Recipe | None:
    """Return the recipe of the head that is trained first; None for an untrained backbone.

    The errors of a random head would spoil the trained layers below it.
    """
    if not backbone.is_pretrained:
        return None
    asked = {"head": recipe.head, "label_smoothing": recipe.label_smoothing, "class_weights": recipe.class_weights}
    return HEAD.model_copy(update=asked)


def train(task: Task) -> Trained | None:
    """Train as the recipe's method says, and write the SavedModel and the files that rebuild the network.

    Returns None on a worker that is not the chief: its share is done, and it writes nothing.
    """
    started = time.monotonic()
    recipe = task.recipe
    met = workers(recipe)
    if met.count > 1:
        task.progress.say("waiting until the other workers have read their data ...")
    met.check_alike(identity(task))
    checkpoint = Checkpoint(task.state, identity(task), met.from_chief)
    checkpoint.check()
    backbone = _flat(task)
    head = HeadShape.of(recipe.head, task.num_classes, recipe.dropout)
    network = classifier(backbone, head, task.seed, keeps_statistics=recipe.batch_norm == "frozen")
    # The cut that a time budget will choose may lie below the layer that the recipe names.
    chooses = recipe.method == "cut" and recipe.time_budget_s is not None
    _freeze(network, backbone, recipe.model_copy(update={"unfreeze_from": None}) if chooses else recipe)
    if chooses:
        kept_cut(task)  # the cut of another training is an error, which is raised before the head is trained
    features = None
    if first := _first_head(recipe, backbone):
        fitted, _, features = fit_on_features(task, first)
        set_head(network, fitted.layers)
    with scratch_folder() as folder:
        if recipe.method == "cut":
            recipe, lower, _ = above_cut(task, network, started)
            data = _stored_activations(task, recipe, lower, folder, met)
        else:
            data = _photos(task, met)
        if met.count > 1:
            task.progress.say("waiting until the other workers are ready to train ...")
        with placed(network, backbone, head, recipe) as trained:
            _freeze(trained, backbone, recipe)
            state = train_network(
                _above(trained, recipe),
                data,
                recipe,
                task.progress,
                checkpoint,
                task.on_epoch,
                deadline=started + (recipe.time_budget_s or math.inf),
            )
            network.set_weights(trained.get_weights())
    if not met.is_chief:
        return None
    if recipe.batch_norm == "trained":
        rows = batches.order(task.rows("train"), task.seed, 0)
        estimate_again(network, task.data.pixels.select(rows), task.progress)
    with task.progress.step("writing the model"):
        original = saved_model.of_network(network, backbone.input_size)
        saved_model.save(original, task.folder / "model")
        if backbone.structure is not None:
            (task.folder / "network").mkdir()
            save_network(network, backbone, head, task.folder / "network")
    return Trained(
        recipe=recipe,
        history=state.history,
        best_epoch=state.best_epoch,
        validation_logits=_logits(task, original, "validation"),
        test_logits=_logits(task, original, "test"),
        features=features,
    )


def _flat(task: Task) -> Backbone:
    """Return the backbone with its graph, or unchanged, with a warning, where its layers can't be found.

    Raises InputError where they can't be found and the recipe needs them.
    """
    backbone = task.backbone
    if backbone.graph is not None:
        return backbone
    with task.progress.step("the backbone as a flat graph"):
        flat = backbone.flat(np.asarray(task.data.pixels[task.rows("train")[:_PROOF_PHOTOS]], np.uint8))
    if not isinstance(flat, Opaque):
        return flat
    if task.recipe.method == "cut" or task.recipe.unfreeze_from:
        raise InputError(f"{sentence(flat.reason)} An opaque backbone can't be cut: use --recipe head or best.")
    task.progress.warn(f"the backbone stays opaque: {flat.reason}")
    return backbone


def _freeze(network: Any, backbone: Backbone, recipe: Recipe) -> None:
    """Set which layers are trained: the head, and those layers of the backbone that the recipe names."""
    import tf_keras

    if backbone.graph is None:
        backbone.layer.trainable = recipe.method == "whole"
        return
    names = [layer.name for layer in backbone.graph.layers]
    first = 0
    if recipe.unfreeze_from:
        first = names.index(cut_below(backbone.graph, recipe.unfreeze_from)) + 1
    for number, name in enumerate(names):
        layer = network.get_layer(name)
        is_norm = isinstance(layer, tf_keras.layers.BatchNormalization)
        if number < first or (is_norm and recipe.batch_norm == "frozen"):
            layer.trainable = False


def _above(network: Any, recipe: Recipe) -> Any:
    """Return the part of a network that is trained: the layers above the cut, or the whole without one."""
    if recipe.method != "cut":
        return network
    return split(network, cut_below(network, recipe.unfreeze_from or ""))[1]


def _stored_activations(task: Task, recipe: Recipe, lower: Any, folder: Path, met: Workers) -> Data:
    """Compute the activations of this worker's photos, and return the data that the layers above the cut read."""
    data, rows, validation = task.data, met.to_train_on(task.rows("train")), met.to_score(task.rows("validation"))
    made = cut_activations.compute(lower, data.pixels, rows, validation, recipe, task.seed, folder, task.progress)
    place = np.empty(len(data.labels), np.int64)
    place[rows] = np.arange(len(rows))

    def values(epoch: int, some: Indices) -> Any:
        # Each photo shows its views in turn, and neighbouring photos begin with different ones.
        return made.train[(epoch + place[some]) % made.num_views * len(rows) + place[some]]

    return _data(
        task,
        met,
        lambda share: batches.activations(values, made.shape, data.labels, rows, _weights(task), share, task.seed),
        batches.validation_batches(
            lambda start, stop: made.validation[start:stop],
            made.shape,
            data.labels[validation],
            task.num_classes,
        ),
    )


def _photos(task: Task, met: Workers) -> Data:
    """Return the data that the whole network reads: this worker's photos."""
    data, size = task.data, task.backbone.input_size
    rows, validation = met.to_train_on(task.rows("train")), met.to_score(task.rows("validation"))
    pixels = data.pixels.select(validation)

    def scaled(start: int, stop: int) -> Any:
        return np.asarray(pixels[start:stop], np.float32) * np.float32(PIXEL_SCALE)

    return _data(
        task,
        met,
        lambda share: batches.photos(data.pixels, data.labels, rows, _weights(task), share, task.seed),
        batches.validation_batches(scaled, (size, size, 3), data.labels[validation], task.num_classes),
    )


def _data(task: Task, met: Workers, train_batches: Any, validation: Any) -> Data:
    """Make batches of this worker's photos, so that all workers' batches together have the recipe's size."""
    recipe = task.recipe
    of_epoch = train_batches(_share(recipe, met))
    num_steps = -(-len(task.rows("train")) // recipe.batch_size)
    if met.strategy is None:
        return Data(of_epoch, validation, num_steps)
    # Keras needs to be told how many batches a distributed dataset has.
    num_scored = -(-len(task.rows("validation")) // (_BATCH * met.num_replicas))
    return Data(lambda epoch: met.feed(of_epoch(epoch)), met.feed(validation.rebatch(_BATCH)), num_steps, num_scored)


def _share(recipe: Recipe, met: Workers) -> Recipe:
    """Return the recipe with the batch size that each copy of the network is given."""
    return recipe.model_copy(update={"batch_size": recipe.batch_size // met.num_replicas})


def _weights(task: Task) -> Floats:
    return batches.class_weights(task.data.labels[task.rows("train")], task.num_classes, task.recipe.class_weights)


def _logits(task: Task, original: Any, split_name: str) -> Floats:
    """Compute the original's logits of a split on this device."""
    pixels: CachedRows = task.data.pixels.select(task.rows(split_name))
    with task.progress.step(f"the original's answers on the {split_name} split", len(pixels)) as advance:
        parts = []
        for batch in pixels.batches(_BATCH):
            parts.append(original.serve(batch)["logits"].numpy())
            advance(len(batch))
    return np.concatenate(parts)
