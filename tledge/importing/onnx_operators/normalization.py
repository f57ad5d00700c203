"""Normalizations scale and shift each channel by numbers that training found."""

from __future__ import annotations

import numpy as np

from tledge.importing.onnx_values import NHWC, Layers, Node, Value


def batch_normalization(node: Node, layers: Layers) -> Value:
    """Describe BatchNormalization of a map or of a vector."""
    value = node.value()
    if node.attributes.get("training_mode"):
        raise node.unknown("computes mean and variance from the photos (training_mode)")
    if len(value.shape) not in (1, 3):
        raise node.unknown(f"reads {len(value.shape) + 1} axes, where tledge reads 2 or 4")
    value = layers.in_order(value, NHWC if len(value.shape) == 3 else (0,))
    weights = [node.weights(place).reshape(-1) for place in (1, 2, 3, 4)]
    if any(one.size != value.shape[0] for one in weights):
        raise node.unknown(f"has other numbers than one for each of {value.shape[0]} channels")
    if np.any(weights[3] < 0):
        raise node.unknown("has a variance below 0")
    epsilon = float(node.attributes.get("epsilon", 1e-5))
    return value.of(layers.add(node.name, "BatchNormalization", value.layer, weights, axis=-1, epsilon=epsilon))


OPERATORS = {"BatchNormalization": batch_normalization}
