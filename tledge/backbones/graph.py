"""A network of ours as a backbone: a flat Keras graph whose weights are drawn from a seed, or were loaded before."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

from tledge.backbones.backbone import Backbone

_KERNELS = {  # of Keras' layers, each with the attribute that holds its initializer
    "kernel": "kernel_initializer",
    "depthwise_kernel": "depthwise_initializer",
    "pointwise_kernel": "pointwise_initializer",
}


def of_graph(handle: str, graph: Any, structure: dict[str, Any], *, is_pretrained: bool) -> Backbone:
    """The backbone that a flat graph is; ``sha256`` is of its structure and the bytes of its weights."""
    digest = hashlib.sha256(json.dumps(structure, sort_keys=True).encode())
    for values in graph.get_weights():
        digest.update(np.ascontiguousarray(values).tobytes())
    input_size, feature_dim = graph.input_shape[1], graph.output_shape[1]
    return Backbone(handle, digest.hexdigest(), input_size, feature_dim, graph, graph, structure, is_pretrained)


def initialise(graph: Any, seed: int) -> None:
    """Draw the kernels of a graph's trainable layers from ``seed``, each by its own initializer.

    Keras draws from a state that all of a process share; these values depend on ``seed`` and the layer's place alone.
    """
    for number, layer in enumerate(layer for layer in graph.layers if layer.trainable):
        for kernel, initializer in _KERNELS.items():
            rule = getattr(layer, initializer, None)
            if rule is None or not hasattr(layer, kernel) or "seed" not in rule.get_config():  # a constant has none
                continue
            drawn = int(np.random.SeedSequence([seed, number]).generate_state(1)[0] >> 1)
            variable = getattr(layer, kernel)
            rule = type(rule).from_config({**rule.get_config(), "seed": drawn})
            variable.assign(rule(variable.shape, variable.dtype))
