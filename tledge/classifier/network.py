"""This module builds a backbone and a head as one Keras network, saves it, and builds it again from what was saved."""

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
_MAX_BYTES = 2**26  # limit of the file that describes the layers
Layer = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]  # kernel (inputs, outputs), bias (outputs,)


@dataclass(frozen=True)
class HeadShape:
    """A head's shape is its hidden widths, its number of classes, and the ``dropout`` before each of its layers."""

    hidden_units: tuple[int, ...]
    num_classes: int
    dropout: float

    @classmethod
    def of(cls, head: str, num_classes: int, dropout: float) -> HeadShape:
        """Return the head that a recipe names: ``linear``, or ``mlp:UNITS`` as in mlp:256 or mlp:256,64."""
        units = () if head == LINEAR else tuple(int(number) for number in head.partition(":")[2].split(","))
        return cls(units, num_classes, dropout)


def with_head(inputs: Any, features: Any, head: HeadShape, seed: int) -> Any:
    """Put a head on ``features`` (N, feature_dim), and return the tf_keras.Model from ``inputs`` to logits.

    The logits are float32 (N, num_classes). The layers are named ``dropout``, ``hidden_1``, ``dropout_1``, ...,
    ``logits``.
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
    # With zeros every class is equally likely at the start. Mixed precision ends in float32 here.
    logits = layers.Dense(head.num_classes, kernel_initializer="zeros", dtype="float32", name="logits")(x)
    return tf_keras.Model(inputs, logits)


def classifier(backbone: Backbone, head: HeadShape, seed: int, *, keeps_statistics: bool) -> Any:
    """Put a new head on the backbone: float32 RGB (N, S, S, 3) in [0, 1] to logits, float32 (N, num_classes).

    If the backbone has a flat graph, the network shares its layers. Otherwise the backbone is one opaque layer below
    the head. With ``keeps_statistics`` the opaque layer is called as for inference, so that its batch normalizations
    stay as they are.
    """
    import tf_keras

    if backbone.graph is not None:
        return with_head(backbone.graph.input, backbone.graph.output, head, seed)
    images = tf_keras.Input((backbone.input_size, backbone.input_size, 3), name="images")
    features = backbone.layer(images, training=False) if keeps_statistics else backbone.layer(images)
    return with_head(images, features, head, seed)


def set_head(network: Any, layers: Sequence[Layer]) -> None:
    """Set the weights of the head's layers, first to last."""
    dense = [layer for layer in network.layers if layer.name.startswith("hidden_") or layer.name == "logits"]
    for layer, weights in zip(dense, layers, strict=True):
        layer.set_weights(weights)


def save_network(network: Any, backbone: Backbone, head: HeadShape, folder: Path) -> None:
    """Write network.json and weights.npz, from which :func:`load_network` builds the network again.

    The backbone must have a flat graph.
    """
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
    """Build the network that :func:`save_network` wrote, which maps float32 RGB (N, S, S, 3) in [0, 1] to logits.

    Raises ArtifactError where the two files can't be read, or do not fit each other.
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
        raise ArtifactError(f"{folder / NETWORK}: can't be built again ({error}). Build the run again.") from error
    return network


def _key(weight: Any) -> str:
    """Return a weight's name, which has its layer's name in it, as a file name in the archive."""
    return str(weight.name).partition(":")[0].replace("/", ".")
