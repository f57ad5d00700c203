"""This module builds the network of a run from what the run holds and the backbone that it names."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.backbones import Backbone, Opaque, open_backbone
from tledge.classifier.network import NETWORK, HeadShape, classifier, load_network, set_head
from tledge.errors import ArtifactError, InputError
from tledge.preprocessing import Pixels
from tledge.run import Run
from tledge.saved_models import saved_variables

Floats = npt.NDArray[np.float32]


def network_of(run: Run, photos: Sequence[Pixels], weights: str | None = None) -> Any:
    """Build the run's network, a tf_keras.Model of named layers that maps photos to logits.

    The input is float32 RGB (N, S, S, 3) in [0, 1], the output float32 (N, C). A backbone without a graph is taken
    apart, and ``photos``, each uint8 (S, S, 3), prove the result. ``weights`` names the file of a ``keras:`` backbone's
    weights, where they came from one. Raises InputError for a network that is opaque, ArtifactError where the backbone
    has changed since the build.
    """
    if (run.folder / "network" / NETWORK).is_file():
        return load_network(run.folder / "network")
    with contextlib.closing(_backbone_of(run, weights)) as opened:
        size = opened.input_size
        backbone = opened.flat(np.array(photos, np.uint8).reshape(-1, size, size, 3))
    if isinstance(backbone, Opaque):
        raise InputError(backbone.reason)
    recipe = run.manifest.recipe
    head = HeadShape.of(recipe["head"], len(run.manifest.labels), recipe["dropout"])
    network = classifier(backbone, head, seed=0, keeps_statistics=True)
    set_head(network, _head_layers(run, len(head.hidden_units) + 1))
    return network


def backbone_of(run: Run, weights: str | None = None) -> Backbone | None:
    """Open the backbone that gives a run's head its features; None where the run holds its whole network.

    The caller closes it. Raises what :func:`network_of` raises.
    """
    return None if (run.folder / "network" / NETWORK).is_file() else _backbone_of(run, weights)


def _backbone_of(run: Run, weights: str | None) -> Backbone:
    recorded, imported = run.manifest.backbone, run.manifest.imported
    if imported is not None:
        raise InputError(f"the layers of the imported model {imported.file} are not known: {imported.layers_unknown}")
    # tledge 0.1 had a method ``plain``, which also left the backbone unchanged.
    if run.manifest.recipe["method"] not in ("features", "plain"):
        raise InputError(
            f"run {run.name} trained its opaque backbone, {recorded.handle}, of which nothing but the answers "
            "can be read. Build with --recipe head, or on a backbone of known layers such as bundled."
        )
    backbone = open_backbone(recorded.handle, recorded.input_size, weights)
    if backbone.sha256 != recorded.sha256:
        raise ArtifactError(
            f"backbone {recorded.handle} is not the one that run {run.name} was built on: its sha256 differs from "
            "manifest.json. Put that one back (of a keras: backbone, name its file with --weights), or build again."
        )
    return backbone


def _head_layers(run: Run, count: int) -> list[tuple[Floats, Floats]]:
    """Return kernel and bias of each layer of the head, as the SavedModel holds them."""
    with saved_variables(run.folder / "model") as stored:
        held = stored.get_variable_to_shape_map()
        # A head that was trained on features has its own name. Otherwise it is last in the list of the network's weights.
        listed = sum(name.startswith("weights/") for name in held)
        places = [f"weights/{listed - 2 * count + number}" for number in range(2 * count)]
        if not listed:
            places = [f"head/{number // 2}/{number % 2}" for number in range(2 * count)]
        values = [np.asarray(stored.get_tensor(f"{place}/.ATTRIBUTES/VARIABLE_VALUE"), np.float32) for place in places]
    return list(zip(values[::2], values[1::2], strict=True))
