"""Batch normalizations become part of the convolutions before them, as every converter for devices does it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.backbones import RESCALE
from tledge.compression import InputCodes
from tledge.errors import InputError
from tledge.preprocessing import PIXEL_SCALE, Pixels

_IDLE = ("Dropout", "SpatialDropout2D", "GaussianNoise", "GaussianDropout")  # they do nothing but in training
CONVOLUTIONS = ("Conv2D", "DepthwiseConv2D")
_PLAIN = ("InputLayer", "Add", "MaxPooling2D", "GlobalAveragePooling2D", "Flatten")
WEIGHTED = (*CONVOLUTIONS, "Dense")
RELUS = ("ReLU", "Activation")
_KNOWN = (*_PLAIN, *WEIGHTED, *RELUS, *_IDLE, "BatchNormalization")
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Folded:
    """A flat tf_keras.Model to logits, float32 (N, C), and what a pixel byte stands for at its input.

    ``zero_byte``: the value of a byte, seldom whole, that would stand for zero; that of ``input_codes`` is next to it.
    """

    network: Any
    input_codes: InputCodes
    zero_byte: float

    def images(self, pixels: Pixels) -> Floats:
        """What the trained network takes of photos, uint8 (N, S, S, 3): float32 of that shape."""
        return (np.asarray(pixels, np.float32) - np.float32(self.zero_byte)) * np.float32(self.input_codes.scale)

    def copied(self) -> Folded:
        """The same with a network of its own, whose weights may change."""
        return replace(self, network=copied(self.network))


def copied(network: Any) -> Any:
    """A tf_keras.Model of the same layers and weights that shares none of them."""
    import tf_keras

    made = tf_keras.models.clone_model(network)
    made.set_weights(network.get_weights())
    return made


def fold(network: Any) -> Folded:
    """A copy of a flat network, float32 RGB (N, S, S, 3) in [0, 1] to logits, ready to be quantized.

    A batch normalization that alone reads a convolution becomes part of it; an activation inside a layer becomes a layer
    of its own, named ``NAME/activation``; what does nothing outside training goes. The layer that rescales the input goes
    too where one scale and one zero point say the same: the pixel bytes are then the codes of the network's own input.
    Raises InputError for a network with a layer that is used more than once, or of which it is not known what a runtime
    makes of it.
    """
    import tf_keras

    reused = [layer.name for layer in network.layers if len(layer.inbound_nodes) != 1]
    if reused:
        raise InputError(f"layers that are used more than once can't be quantized by themselves: {', '.join(reused)}")
    _refuse([layer for layer in network.layers if type(layer).__name__ not in _KNOWN])
    codes, zero_byte, drops_rescale = _input_codes(network)
    readers = _readers(network)
    outputs: dict[str, Any] = {}
    weights: dict[str, list[Floats]] = {}
    for layer in network.layers:
        before = [node.layer.name for node in layer.inbound_nodes[0].parent_nodes]
        if isinstance(layer, tf_keras.layers.InputLayer):
            images = outputs[layer.name] = tf_keras.Input(layer.output_shape[0][1:], name="images")
        elif type(layer).__name__ in _IDLE or (layer.name == RESCALE and drops_rescale):
            outputs[layer.name] = outputs[before[0]]
        elif (
            isinstance(layer, tf_keras.layers.BatchNormalization)
            and before[0] in weights
            and _can_fold(network, before[0], readers)
        ):
            weights[before[0]] = _folded(weights[before[0]], layer, network.get_layer(before[0]))
            outputs[layer.name] = outputs[before[0]]
        else:
            read = [outputs[name] for name in before]
            copy, activation, values = _copy(layer)
            outputs[layer.name] = copy(read if len(read) > 1 else read[0])
            if activation is not None:
                outputs[layer.name] = activation(outputs[layer.name])
            if values:
                weights[layer.name] = values
    folded = tf_keras.Model(images, outputs[network.layers[-1].name])
    _refuse([layer for layer in folded.layers if not _is_known(layer)])
    for name, values in weights.items():
        folded.get_layer(name).set_weights(values)
    return Folded(folded, codes, zero_byte)


def _input_codes(network: Any) -> tuple[InputCodes, float, bool]:
    """What a byte stands for, which would be zero, and whether that takes the place of the layer that rescales."""
    names = [layer.name for layer in network.layers]
    if RESCALE not in names:
        return InputCodes(PIXEL_SCALE, 0), 0.0, False
    kernel, offset = (values.reshape(-1) for values in network.get_layer(RESCALE).get_weights())
    scale, zero_point = float(kernel[0]) * PIXEL_SCALE, -float(offset[0]) / (float(kernel[0]) * PIXEL_SCALE)
    # Half a code is less than what a camera's byte is exact to; the weights are fitted to the input as it is coded.
    if np.ptp(kernel) or np.ptp(offset) or kernel[0] <= 0 or not -0.5 <= zero_point <= 255.5:
        return InputCodes(PIXEL_SCALE, 0), 0.0, False
    return InputCodes(scale, math.ceil(zero_point - 0.5)), zero_point, True


def _refuse(strange: list[Any]) -> None:
    if strange:
        named = ", ".join(f"{layer.name} ({type(layer).__name__})" for layer in strange[:5])
        raise InputError(f"the network has layers that can't be fitted to integers: {named}")


def is_depthwise(layer: Any) -> bool:
    """Whether every channel of its input has kernels of its own: its kernel is (h, w, channels, multiplier)."""
    return type(layer).__name__ == "DepthwiseConv2D"


def has_pairs(layer: Any) -> bool:
    """Whether a CPU may add products of its weights in 16 bits: all layers with weights but those with one kernel a channel."""
    return not (is_depthwise(layer) and layer.depth_multiplier == 1)


def is_weighted(layer: Any) -> bool:
    """Whether it multiplies by weights that are fitted."""
    return type(layer).__name__ in WEIGHTED


def summing(network: Any) -> list[Any]:
    """The layers that add up several channels, convolutions and dense layers: nearly all weights are theirs."""
    return [layer for layer in network.layers if is_weighted(layer) and not is_depthwise(layer)]


def is_fused(layer: Any) -> bool:
    """Whether its output is never coded: a ReLU alone reads it, which runtimes compute in the same operator.

    ``fold`` leaves no other activation.
    """
    return is_weighted(layer) and [type(node.layer).__name__ in RELUS for node in layer.outbound_nodes] == [True]


def _is_known(layer: Any) -> bool:
    """Whether its output becomes one tensor of codes in every runtime, or none where a ReLU is part of its operator."""
    kind = type(layer).__name__
    if kind in WEIGHTED:
        return getattr(layer, "groups", 1) == 1 or is_depthwise(layer)
    if kind == "ReLU":
        is_plain = layer.max_value in (None, 6.0) and not layer.negative_slope and not layer.threshold
        return is_plain and _follows_weights(layer)
    if kind == "Activation":
        return layer.activation.__name__ in ("relu", "relu6") and _follows_weights(layer)
    return kind in _PLAIN


def _follows_weights(layer: Any) -> bool:
    """Whether it alone reads a layer with weights; runtimes make a ReLU part of a sum too, whose codes are then none."""
    before = layer.inbound_nodes[0].parent_nodes[0].layer
    return type(before).__name__ in WEIGHTED and len(before.outbound_nodes) == 1


def _readers(network: Any) -> dict[str, int]:
    """How many layers read each layer."""
    counts = {layer.name: 0 for layer in network.layers}
    for layer in network.layers:
        for node in layer.inbound_nodes[0].parent_nodes:
            counts[node.layer.name] += 1
    return counts


def _can_fold(network: Any, name: str, readers: dict[str, int]) -> bool:
    layer = network.get_layer(name)
    is_linear = type(layer).__name__ in CONVOLUTIONS and layer.activation.__name__ == "linear"
    return is_linear and readers[name] == 1


def _folded(values: list[Floats], normalization: Any, convolution: Any) -> list[Floats]:
    """Kernel and bias of ``convolution`` followed by ``normalization`` (Jacob et al., 2018, arXiv:1712.05877, eq. 14)."""
    mean, variance = (np.asarray(v, np.float64) for v in (normalization.moving_mean, normalization.moving_variance))
    factor = 1 / np.sqrt(variance + normalization.epsilon)
    if normalization.scale:
        factor = factor * np.asarray(normalization.gamma, np.float64)
    offset = np.asarray(normalization.beta, np.float64) if normalization.center else 0.0
    kernel, bias = (np.asarray(v, np.float64) for v in values)
    # (h, w, channels, multiplier) of a depthwise convolution: its output channels are the last two axes.
    per_channel = factor.reshape(kernel.shape[2:]) if is_depthwise(convolution) else factor
    return [(kernel * per_channel).astype(np.float32), ((bias - mean) * factor + offset).astype(np.float32)]


def _copy(layer: Any) -> tuple[Any, Any | None, list[Floats]]:
    """A copy of a layer, its activation as a layer of its own where it has one inside, and the weights to be given."""
    import tf_keras

    config, values, activation = layer.get_config(), layer.get_weights(), None
    if type(layer).__name__ in WEIGHTED:
        if layer.activation.__name__ != "linear":
            activation = tf_keras.layers.Activation(layer.activation, name=f"{layer.name}/activation")
            config["activation"] = "linear"
        if not layer.use_bias:
            config["use_bias"] = True
            kernel = values[0]
            num_outputs = np.prod(kernel.shape[2:]) if is_depthwise(layer) else kernel.shape[-1]
            values = [kernel, np.zeros(num_outputs, np.float32)]
    return type(layer).from_config(config), activation, values
