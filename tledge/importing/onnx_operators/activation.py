"""Activations change each number by itself; a softmax changes those of one axis together."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tledge.importing.onnx_values import NHWC, Layers, Node, Value


def _named(activation: str) -> Callable[[Node, Layers], Value]:
    def describe(node: Node, layers: Layers) -> Value:
        value = node.value()
        return value.of(layers.add(node.name, "Activation", value.layer, activation=activation))

    return describe


def relu(node: Node, layers: Layers) -> Value:
    """Describe Relu as the layer ReLU."""
    value = node.value()
    return value.of(layers.add(node.name, "ReLU", value.layer))


def clip(node: Node, layers: Layers) -> Value:
    """Describe Clip between two bounds, each of which may be left out."""
    value = node.value()
    bounds = [node.setting("min", 1), node.setting("max", 2)]
    low, high = (np.asarray(one, np.float64).reshape(-1) if one is not None else None for one in bounds)
    largest = float(np.finfo(np.float32).max)
    at_least = -math.inf if low is None or low[0] <= -largest else float(low[0])
    at_most = math.inf if high is None or high[0] >= largest else float(high[0])
    if at_least > at_most:
        raise node.unknown("has a lower bound above its upper one")
    return value.of(_between(node, layers, value.layer, at_least, at_most))


def _between(node: Node, layers: Layers, layer: str, at_least: float, at_most: float) -> str:
    if at_least == -math.inf:
        if at_most == math.inf:
            return layer
        turned = layers.add(f"{node.name}_below", "Rescaling", layer, scale=-1.0, offset=at_most)
        turned = layers.add(f"{node.name}_relu", "ReLU", turned)
        return layers.add(node.name, "Rescaling", turned, scale=-1.0, offset=at_most)
    config: dict[str, Any] = {} if at_most == math.inf else {"max_value": at_most - at_least}
    if at_least == 0:
        return layers.add(node.name, "ReLU", layer, **config)
    moved = layers.add(f"{node.name}_above", "Rescaling", layer, scale=1.0, offset=-at_least)
    moved = layers.add(f"{node.name}_relu", "ReLU", moved, **config)
    return layers.add(node.name, "Rescaling", moved, scale=1.0, offset=at_least)


def leaky_relu(node: Node, layers: Layers) -> Value:
    """Describe LeakyRelu with its slope."""
    value = node.value()
    return value.of(layers.add(node.name, "LeakyReLU", value.layer, alpha=float(node.attributes.get("alpha", 0.01))))


def prelu(node: Node, layers: Layers) -> Value:
    """Describe PRelu with one slope, or with one for each channel."""
    value = node.value()
    slope = node.weights(1)
    if slope.size and np.all(slope == slope.flat[0]):
        return value.of(layers.add(node.name, "LeakyReLU", value.layer, alpha=float(slope.flat[0])))
    if len(value.shape) not in (1, 3) or slope.shape[-len(value.shape) :] != (
        value.shape[0],
        *[1] * (len(value.shape) - 1),
    ):
        raise node.unknown(f"has slopes {slope.shape}, where tledge knows one or one for each channel")
    value = layers.in_order(value, NHWC if len(value.shape) == 3 else (0,))
    held = slope.reshape((1, 1, -1) if len(value.shape) == 3 else (-1,))
    shared = [1, 2] if len(value.shape) == 3 else None
    return value.of(layers.add(node.name, "PReLU", value.layer, (held,), shared_axes=shared))


def hard_sigmoid(node: Node, layers: Layers) -> Value:
    """Describe HardSigmoid: alpha x + beta between 0 and 1."""
    value = node.value()
    alpha, beta = float(node.attributes.get("alpha", 0.2)), float(node.attributes.get("beta", 0.5))
    return value.of(_hard_sigmoid(node.name, layers, value.layer, alpha, beta))


def hard_swish(node: Node, layers: Layers) -> Value:
    """Describe HardSwish: x times the hard sigmoid of x / 6 + 1 / 2."""
    value = node.value()
    gate = _hard_sigmoid(f"{node.name}_gate", layers, value.layer, 1 / 6, 0.5)
    return value.of(layers.add(node.name, "Multiply", (value.layer, gate)))


def _hard_sigmoid(name: str, layers: Layers, layer: str, alpha: float, beta: float) -> str:
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:  # as MobileNetV3 is written, which is exact at both ends
        moved = layers.add(f"{name}_moved", "Rescaling", layer, scale=1.0, offset=3.0)
        return layers.add(
            name, "Rescaling", layers.add(f"{name}_relu6", "ReLU", moved, max_value=6.0), scale=1 / 6, offset=0.0
        )
    moved = layers.add(f"{name}_moved", "Rescaling", layer, scale=alpha, offset=beta)
    return layers.add(name, "ReLU", moved, max_value=1.0)


def elu(node: Node, layers: Layers) -> Value:
    """Describe Elu with the slope 1."""
    if node.attributes.get("alpha", 1.0) != 1.0:
        raise node.unknown("has another alpha than 1")
    return _named("elu")(node, layers)


def softmax(node: Node, layers: Layers) -> Value:
    """Describe Softmax along one axis."""
    value = node.value()
    rank = len(value.shape) + 1
    axis = int(node.attributes.get("axis", 1 if node.opset < 13 else -1)) % rank
    # Before opset 13 all axes from this one on are one.
    if axis == 0 or (node.opset < 13 and any(size > 1 for size in value.shape[axis:])):
        raise node.unknown(f"sums over axis {axis} of {rank}")
    others = [one for one in range(rank - 1) if one != axis - 1]
    value = layers.in_order(value, (*others, axis - 1))
    return value.of(layers.add(node.name, "Activation", value.layer, activation="softmax"))


OPERATORS = {
    "Relu": relu,
    "Clip": clip,
    "LeakyRelu": leaky_relu,
    "PRelu": prelu,
    "HardSigmoid": hard_sigmoid,
    "HardSwish": hard_swish,
    "Elu": elu,
    "Sigmoid": _named("sigmoid"),
    "Tanh": _named("tanh"),
    "Softplus": _named("softplus"),
    "Softmax": softmax,
}
