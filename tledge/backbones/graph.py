"""This module makes a backbone of a flat Keras graph, and draws the weights of a graph from a seed."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

from tledge.backbones.backbone import Backbone

_KERNELS = {  # the kernels of Keras' layers, each with the attribute that holds its initializer
    "kernel": "kernel_initializer",
    "depthwise_kernel": "depthwise_initializer",
    "pointwise_kernel": "pointwise_initializer",
}


def of_graph(handle: str, graph: Any, structure: dict[str, Any], *, is_pretrained: bool) -> Backbone:
    """Make a backbone of a flat graph. The ``sha256`` of the backbone covers the structure and the bytes of the weights."""
    digest = hashlib.sha256(json.dumps(structure, sort_keys=True).encode())
    for values in graph.get_weights():
        digest.update(np.ascontiguousarray(values).tobytes())
    input_size, feature_dim = graph.input_shape[1], graph.output_shape[1]
    return Backbone(handle, digest.hexdigest(), input_size, feature_dim, graph, graph, structure, is_pretrained)


def initialise(graph: Any, seed: int) -> None:
    """Draw the kernels of a graph's trainable layers from ``seed``, each by its own initializer, in place.

    Keras draws from a state that a whole process shares. These values depend on ``seed`` and the place of the layer alone.
    """
    for number, layer in enumerate(layer for layer in graph.layers if layer.trainable):
        for kernel, initializer in _KERNELS.items():
            rule = getattr(layer, initializer, None)
            if rule is None or not hasattr(layer, kernel) or "seed" not in rule.get_config():  # constants have none
                continue
            drawn = int(np.random.SeedSequence([seed, number]).generate_state(1)[0] >> 1)
            variable = getattr(layer, kernel)
            rule = type(rule).from_config({**rule.get_config(), "seed": drawn})
            variable.assign(rule(variable.shape, variable.dtype))
