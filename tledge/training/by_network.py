"""The network itself is trained: the layers above a cut on stored activations, or all of it on photos."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tledge.backbones import Backbone
from tledge.backbones.cuts import cut_below, split
from tledge.backbones.mobilenet_v2 import NotMobileNetV2, flatten
from tledge.cache import Rows, scratch_folder
from tledge.errors import InputError
from tledge.preprocessing import PIXEL_SCALE
from tledge.tensorflow_setup import tensorflow
from tledge.training import batches, cut_activations, model
from tledge.training.batch_norm import estimate_again
from tledge.training.by_features import fit_on_features
from tledge.training.checkpoint import Checkpoint
from tledge.training.loop import Data, State
from tledge.training.loop import train as run_epochs
from tledge.training.method import Floats, Indices, Task, Trained
from tledge.training.network import HeadShape, classifier, save_network, set_head
from tledge.training.recipe import HEAD, Recipe

_BATCH = 64
_PROOF_PHOTOS = 16


def train(task: Task) -> Trained:
    """Train as the recipe's method says, and write the SavedModel and what builds the network again."""
    started = time.monotonic()
    recipe = task.recipe
    backbone = _flat(task)
    head = HeadShape.of(recipe, task.num_classes)
    network = classifier(backbone, head, task.seed)
    features = None
    if backbone.is_pretrained and recipe.method != "plain":
        # A head of random weights would send its errors down into layers that are good.
        first = HEAD.model_copy(
            update={
                "head": recipe.head,
                "label_smoothing": recipe.label_smoothing,
                "class_weights": recipe.class_weights,
            }
        )
        fitted, _, features = fit_on_features(task, first)
        set_head(network, fitted.layers)
    _freeze(network, backbone, recipe)
    with scratch_folder() as folder:
        if recipe.method == "cut":
            recipe, state = _train_above_cut(task, network, recipe, folder, started)
        else:
            state = _train_whole(task, network, recipe, started)
    if recipe.batch_norm == "trained":
        rows = batches.order(task.rows("train"), task.seed, 0)
        estimate_again(network, task.data.pixels.select(rows), task.progress)
    with task.progress.step("writing the model"):
        original = model.of_network(network, backbone.input_size)
        model.save(original, task.folder / "model")
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
    """The backbone with its graph, where it has one or a Hub module is found to be a MobileNetV2."""
    backbone = task.backbone
    if backbone.graph is not None or task.recipe.method == "plain":
        return backbone
    try:
        with task.progress.step("the backbone as a flat graph"):
            return flatten(backbone, np.asarray(task.data.pixels[task.rows("train")[:_PROOF_PHOTOS]], np.uint8))
    except NotMobileNetV2 as error:
        if task.recipe.method == "cut" or task.recipe.unfreeze_from:
            raise InputError(f"{error}; an opaque backbone can't be cut: use --recipe head or best") from error
        task.progress.warn(f"the backbone stays opaque: {error}")
        return backbone


def _freeze(network: Any, backbone: Backbone, recipe: Recipe) -> None:
    """Set what is trained: the head, and of the backbone what the recipe says."""
    import tf_keras

    if backbone.graph is None:
        backbone.layer.trainable = recipe.method == "whole"
        return
    names = [layer.name for layer in backbone.graph.layers]
    first = 0
    if recipe.method == "plain":
        first = len(names)
    elif recipe.unfreeze_from:
        first = names.index(cut_below(backbone.graph, recipe.unfreeze_from)) + 1
    for number, name in enumerate(names):
        layer = network.get_layer(name)
        is_norm = isinstance(layer, tf_keras.layers.BatchNormalization)
        if number < first or (is_norm and recipe.batch_norm == "frozen"):
            layer.trainable = False


def _train_above_cut(task: Task, network: Any, recipe: Recipe, folder: Path, started: float) -> tuple[Recipe, State]:
    cut = cut_below(network, recipe.unfreeze_from or "")
    lower, upper = split(network, cut)
    data, train_rows, validation = task.data, task.rows("train"), task.rows("validation")
    made = cut_activations.compute(lower, data.pixels, train_rows, validation, recipe, task.seed, folder, task.progress)
    place = np.empty(len(data.labels), np.int64)
    place[train_rows] = np.arange(len(train_rows))
    views = len(made.train)

    def values(epoch: int, rows: Indices) -> Any:
        # Each photo shows its views in an order of its own: after so many epochs it has shown each once.
        return made.train[(epoch + place[rows]) % views, place[rows]]

    weights = batches.class_weights(data.labels[train_rows], task.num_classes, recipe.class_weights)
    tf = tensorflow()
    one_hot = np.eye(task.num_classes, dtype=np.float32)

    def held_out() -> Iterator[tuple[Any, Any]]:
        for start in range(0, len(validation), _BATCH):
            labels = data.labels[validation[start : start + _BATCH]]
            yield made.validation[start : start + _BATCH].astype(np.float32), one_hot[labels]

    signature = (tf.TensorSpec((None, *made.shape), tf.float32), tf.TensorSpec((None, task.num_classes), tf.float32))
    read = Data(
        batches.activations(values, made.shape, data.labels, train_rows, weights, recipe, task.seed),
        tf.data.Dataset.from_generator(held_out, output_signature=signature),
        -(-len(train_rows) // recipe.batch_size),
    )
    state = run_epochs(
        upper,
        read,
        recipe,
        recipe.max_epochs,
        task.progress,
        Checkpoint(task.state),
        deadline=_deadline(recipe, started),
    )
    return recipe, state


def _train_whole(task: Task, network: Any, recipe: Recipe, started: float) -> State:
    data, rows, validation = task.data, task.rows("train"), task.rows("validation")
    weights = batches.class_weights(data.labels[rows], task.num_classes, recipe.class_weights)
    tf = tensorflow()
    one_hot = np.eye(task.num_classes, dtype=np.float32)

    def held_out() -> Iterator[tuple[Any, Any]]:
        for start in range(0, len(validation), _BATCH):
            part = validation[start : start + _BATCH]
            yield np.asarray(data.pixels[part], np.float32) * np.float32(PIXEL_SCALE), one_hot[data.labels[part]]

    size = task.backbone.input_size
    signature = (tf.TensorSpec((None, size, size, 3), tf.float32), tf.TensorSpec((None, task.num_classes), tf.float32))
    read = Data(
        batches.photos(data.pixels, data.labels, rows, weights, recipe, task.seed),
        tf.data.Dataset.from_generator(held_out, output_signature=signature),
        -(-len(rows) // recipe.batch_size),
    )
    return run_epochs(
        network,
        read,
        recipe,
        recipe.max_epochs,
        task.progress,
        Checkpoint(task.state),
        deadline=_deadline(recipe, started),
    )


def _deadline(recipe: Recipe, started: float) -> float:
    return started + recipe.time_budget_s if recipe.time_budget_s else math.inf


def _logits(task: Task, original: Any, split_name: str) -> Floats:
    """The original's logits of a split, as this device computes them."""
    pixels: Rows = task.data.pixels.select(task.rows(split_name))
    with task.progress.step(f"the original's answers on the {split_name} split", len(pixels)) as advance:
        parts = []
        for batch in pixels.batches(_BATCH):
            parts.append(original.serve(batch)["logits"].numpy())
            advance(len(batch))
    return np.concatenate(parts)
