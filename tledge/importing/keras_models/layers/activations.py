"""This family is the functions that change each value by itself, and softmax."""

from __future__ import annotations

from typing import Any

import numpy as np

from tledge.importing.keras_models.calls import Call, activation_of
from tledge.importing.keras_models.writer import Value, Writer, affine, floats

# Both libraries compute these alike. Each name is that of tf_keras.
_SAME = {
    "elu": "elu",
    "gelu": "gelu",  # as the name of an activation it is the exact one, by the error function
    "selu": "selu",
    "sigmoid": "sigmoid",
    "silu": "swish",
    "softmax": "softmax",
    "softplus": "softplus",
    "swish": "swish",
    "tanh": "tanh",
}
_LAYERS: dict[str, tuple[str, dict[str, Any]]] = {
    "leaky_relu": ("LeakyReLU", {"alpha": 0.2}),
    "relu": ("ReLU", {}),
    "relu6": ("ReLU", {"max_value": 6.0}),
}


def activated(writer: Writer, call: Call, value: Value) -> Value:
    """Add the activation that a layer computes at its end."""
    name = activation_of(call.layer)
    return value if name == "linear" else function(writer, call, name, f"{call.layer.name}_{name}", value)


def function(writer: Writer, call: Call, name: str, named: str, value: Value) -> Value:
    """Add an activation function by its name in Keras. The layer will be called ``named``."""
    if name in _SAME:
        return writer.add(named, "Activation", {"activation": _SAME[name]}, value)
    if name in _LAYERS:
        kind, config = _LAYERS[name]
        return writer.add(named, kind, config, value)
    if name == "hard_sigmoid":
        return _hard_sigmoid(writer, call, named, value)
    if name in ("hard_silu", "hard_swish"):
        gate = _hard_sigmoid(writer, call, f"{named}_gate", value)
        return writer.add(named, "Multiply", {}, [value, gate])
    raise call.unknown(f"its activation is {name}")


def _hard_sigmoid(writer: Writer, call: Call, named: str, value: Value) -> Value:
    # Keras 3: relu6(x + 3) / 6. tf_keras: 0.2 x + 0.5, cut at 0 and 1.
    slope = 0.2 if type(call.layer).__module__.startswith("tf_keras") else 1 / 6
    return writer.add(named, "ReLU", {"max_value": 1.0}, affine(writer, f"{named}_line", value, slope, 0.5))


def _activation(writer: Writer, call: Call, value: Value) -> Value:
    name = activation_of(call.layer)
    return value if name == "linear" else function(writer, call, name, call.layer.name, value)


def _relu(writer: Writer, call: Call, value: Value) -> Value:
    layer = call.layer
    most, slope, threshold = layer.max_value, float(layer.negative_slope or 0), float(layer.threshold or 0)
    config: dict[str, Any] = {} if most is None else {"max_value": float(most)}
    config |= {"negative_slope": slope} if slope else {}
    config |= {"threshold": threshold} if threshold else {}
    return writer.add(layer.name, "ReLU", config, value)


def _leaky_relu(writer: Writer, call: Call, value: Value) -> Value:
    slope = getattr(call.layer, "negative_slope", None)  # tf_keras calls it alpha
    alpha = float(call.layer.alpha if slope is None else slope)
    return writer.add(call.layer.name, "LeakyReLU", {"alpha": alpha}, value)


def _prelu(writer: Writer, call: Call, value: Value) -> Value:
    shared = call.layer.shared_axes
    if shared is None:
        if None in value.shape[1:]:
            raise call.unknown("it has a slope for each place of an open size")
        config: dict[str, Any] = {}
    else:
        config = {"shared_axes": [int(one) for one in shared]}
    return writer.add(call.layer.name, "PReLU", config, value, [call.layer.alpha])


def _elu(writer: Writer, call: Call, value: Value) -> Value:
    if float(np.asarray(call.layer.alpha)) != 1:
        raise call.unknown("its alpha is not 1")
    return function(writer, call, "elu", call.layer.name, value)


def _softmax(writer: Writer, call: Call, value: Value) -> Value:
    axis = getattr(call.layer, "axis", call.kwargs.get("axis", -1))
    if axis not in (-1, value.rank - 1, None):
        raise call.unknown("it is computed over other axes than the last one")
    return function(writer, call, "softmax", call.layer.name, value)


def _named(name: str) -> Any:
    """Return what describes the operation that computes the activation ``name``."""

    def describe(writer: Writer, call: Call, value: Value) -> Value:
        return function(writer, call, name, call.layer.name, value)

    return describe


def _gelu(writer: Writer, call: Call, value: Value) -> Value:
    if call.kwargs.get("approximate", getattr(call.layer, "approximate", False)):
        raise call.unknown("it is approximated by tanh")
    return function(writer, call, "gelu", call.layer.name, value)


def _clip(writer: Writer, call: Call, value: Value) -> Value:
    least = call.kwargs.get("x_min", getattr(call.layer, "x_min", None))
    most = call.kwargs.get("x_max", getattr(call.layer, "x_max", None))
    if "clip_value_min" in call.kwargs:
        least, most = call.kwargs["clip_value_min"], call.kwargs["clip_value_max"]
    if least != 0 or not isinstance(most, int | float):
        raise call.unknown("its limits are not 0 and a number")
    return writer.add(call.layer.name, "ReLU", {"max_value": float(floats(most))}, value)


_OPERATIONS = {
    "Elu": "elu",
    "HardSigmoid": "hard_sigmoid",
    "HardSilu": "hard_silu",
    "HardSwish": "hard_silu",
    "Relu": "relu",
    "Relu6": "relu6",
    "Selu": "selu",
    "Sigmoid": "sigmoid",
    "Silu": "silu",
    "Softplus": "softplus",
    "Tanh": "tanh",
}
_FUNCTIONS = {
    "math.sigmoid": "sigmoid",
    "math.tanh": "tanh",
    "nn.relu": "relu",
    "nn.relu6": "relu6",
    "nn.sigmoid": "sigmoid",
    "nn.silu": "silu",
    "nn.softplus": "softplus",
    "nn.swish": "silu",
    "nn.tanh": "tanh",
}
LAYERS = {
    "Activation": _activation,
    "ELU": _elu,
    "LeakyReLU": _leaky_relu,
    "PReLU": _prelu,
    "ReLU": _relu,
    "Softmax": _softmax,
    "ops.Clip": _clip,
    "ops.Gelu": _gelu,
    "ops.Softmax": _softmax,
    "tf.clip_by_value": _clip,
    "tf.nn.gelu": _gelu,
    "tf.nn.softmax": _softmax,
    **{f"ops.{name}": _named(activation) for name, activation in _OPERATIONS.items()},
    **{f"tf.{name}": _named(activation) for name, activation in _FUNCTIONS.items()},
}
