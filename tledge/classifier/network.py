"""A backbone and a head as one Keras network: built, saved so that it can be built again, and made the original."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.backbones import Backbone, rebuild_flat
from tledge.classifier import LINEAR
from tledge.errors import ArtifactError
from tledge.files import atomic_write, read_file

NETWORK, WEIGHTS = "network.json", "weights.npz"
_MAX_BYTES = 2**26  # of the layers as text
Layer = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]  # kernel (inputs, outputs), bias (outputs,)


@dataclass(frozen=True)
class HeadShape:
    """Hidden widths and number of classes of a head; ``dropout`` before each of its layers."""

    hidden_units: tuple[int, ...]
    num_classes: int
    dropout: float

    @classmethod
    def of(cls, head: str, num_classes: int, dropout: float) -> HeadShape:
        """The head that a recipe names: ``linear``, or ``mlp:UNITS`` as in mlp:256 or mlp:256,64."""
        units = () if head == LINEAR else tuple(int(number) for number in head.partition(":")[2].split(","))
        return cls(units, num_classes, dropout)


def with_head(inputs: Any, features: Any, head: HeadShape, seed: int) -> Any:
    """A tf_keras.Model from ``inputs`` over the tensor ``features`` (N, feature_dim) to logits, float32 (N, num_classes).

    Layers: ``dropout``, ``hidden_1``, ``dropout_1``, ..., ``logits``.
    """
    import tf_keras
    from tf_keras import layers

    x = features
    for number, units in enumerate(head.hidden_units):
        x = layers.Dropout(head.dropout, seed=seed, name=f"dropout_{number}" if number else "dropout")(x)
        start = tf_keras.initializers.GlorotUniform(seed=seed + number)
        x = layers.Dense(units, "relu", kernel_initializer=start, name=f"hidden_{number + 1}")(x)
    last = len(head.hidden_units)
    x = layers.Dropout(head.dropout, seed=seed, name=f"dropout_{last}" if last else "dropout")(x)
    # Zeros: at the start every class is as likely as any other, and mixed precision ends in float32.
    logits = layers.Dense(head.num_classes, kernel_initializer="zeros", dtype="float32", name="logits")(x)
    return tf_keras.Model(inputs, logits)


def classifier(backbone: Backbone, head: HeadShape, seed: int, *, keeps_statistics: bool) -> Any:
    """The backbone with a new head: float32 RGB (N, S, S, 3) in [0, 1] to logits, float32 (N, num_classes).

    A flat graph where the backbone has one, whose layers it shares; else its opaque layer below the head, which with
    ``keeps_statistics`` is called as for inference, so that its batch normalizations stay as they are.
    """
    import tf_keras

    if backbone.graph is not None:
        return with_head(backbone.graph.input, backbone.graph.output, head, seed)
    images = tf_keras.Input((backbone.input_size, backbone.input_size, 3), name="images")
    features = backbone.layer(images, training=False) if keeps_statistics else backbone.layer(images)
    return with_head(images, features, head, seed)


def set_head(network: Any, layers: Sequence[Layer]) -> None:
    """Give the head's layers these weights, first to last."""
    dense = [layer for layer in network.layers if layer.name.startswith("hidden_") or layer.name == "logits"]
    for layer, weights in zip(dense, layers, strict=True):
        layer.set_weights(weights)


def save_network(network: Any, backbone: Backbone, head: HeadShape, folder: Path) -> None:
    """Write what builds the network again: network.json and weights.npz, where the backbone has a graph."""
    described = {
        "backbone": backbone.structure,
        "hidden_units": list(head.hidden_units),
        "num_classes": head.num_classes,
        "dropout": head.dropout,
    }
    atomic_write(folder / NETWORK, json.dumps(described, indent=2).encode() + b"\n")
    with (folder / WEIGHTS).open("wb") as file:
        np.savez(file, **{_key(weight): weight.numpy() for weight in network.weights})


def load_network(folder: Path) -> Any:
    """The network that :func:`save_network` wrote: logits of float32 RGB (N, S, S, 3) in [0, 1].

    Raises ArtifactError where the two files do not fit each other.
    """
    from tledge.tensorflow_setup import tensorflow

    tensorflow()
    try:
        described = json.loads(read_file(folder / NETWORK, _MAX_BYTES))
        head = HeadShape(tuple(described["hidden_units"]), described["num_classes"], described["dropout"])
        graph = rebuild_flat(described["backbone"])
        network = with_head(graph.input, graph.output, head, seed=0)
        with np.load(folder / WEIGHTS, allow_pickle=False) as stored:
            network.set_weights([stored[_key(weight)] for weight in network.weights])
    except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise ArtifactError(f"{folder / NETWORK}: can't be built again ({error}); build the run again") from error
    return network


def _key(weight: Any) -> str:
    """A weight's name, which is its layer's and its own, as a file name in the archive."""
    return str(weight.name).partition(":")[0].replace("/", ".")
