"""This module copies layers into a folded network."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Copy = tuple[Any, dict[str, list[Floats]]]  # the copy's output, and its weights by layer name


def as_it_is(layer: Any, inputs: list[Any]) -> Copy:
    """Return the output of a copy of ``layer`` that reads ``inputs``, and the copy's weights by layer name."""
    return _applied(layer, layer.get_config(), inputs), {layer.name: layer.get_weights()}


def with_bias(layer: Any, inputs: list[Any]) -> Copy:
    """Return the output and weights of a copy of ``layer`` that has a bias and whose activation is a separate layer.

    The activation's layer is named ``NAME/activation``.
    """
    import tf_keras

    values = layer.get_weights()
    if not layer.use_bias:
        values = [*values, np.zeros(layer.output_shape[-1], np.float32)]
    made = _applied(layer, layer.get_config() | {"use_bias": True, "activation": "linear"}, inputs)
    if layer.activation.__name__ != "linear":
        made = tf_keras.layers.Activation(layer.activation, name=f"{layer.name}/activation")(made)
    return made, {layer.name: values}


def _applied(layer: Any, config: dict[str, Any], inputs: list[Any]) -> Any:
    copy = type(layer).from_config(config)
    return copy(inputs if len(inputs) > 1 else inputs[0])
