"""This module folds batch normalizations into the weights before them, as every converter for devices does."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.backbones import RESCALE
from tledge.compression.layer_kinds import Normalization
from tledge.compression.layer_roles import find_kind, host_of, is_weighted, kernel_of, kind_of
from tledge.compression.prepared_network import InputCodes
from tledge.errors import InputError
from tledge.preprocessing import PIXEL_SCALE, Pixels

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Folded:
    """A folded network is a copy of the trained one whose batch normalizations are folded into the layers before them.

    Args:
        network: The flat tf_keras.Model. It returns logits, float32 (N, C).
        input_codes: The scale and the zero point of the network's quantized input. The zero point is ``zero_byte``, rounded.
        zero_byte: The pixel value that stands for the real number 0. It is usually a fraction, such as 127.5.
    """

    network: Any
    input_codes: InputCodes
    zero_byte: float

    def images(self, pixels: Pixels) -> Floats:
        """Convert photos, uint8 (N, S, S, 3), to the trained network's float32 input of the same shape."""
        return (np.asarray(pixels, np.float32) - np.float32(self.zero_byte)) * np.float32(self.input_codes.scale)

    def copied(self) -> Folded:
        """Copy the folded network, so that the copy's weights may change."""
        return replace(self, network=copied(self.network))


def copied(network: Any) -> Any:
    """Copy a tf_keras.Model with all its layers and weights."""
    import tf_keras

    made = tf_keras.models.clone_model(network)
    made.set_weights(network.get_weights())
    return made


def fold(network: Any) -> Folded:
    """Copy a flat network so that it is ready to be quantized; the copy has no batch normalization that can be folded.

    The network goes from float32 RGB (N, S, S, 3) in [0, 1] to logits. A batch normalization becomes part of a layer
    with weights if it alone reads that layer. An activation inside a layer becomes a layer named ``NAME/activation``.
    Layers that do nothing outside training are dropped. The layer that rescales the input is dropped if it alone reads
    the input, and if one scale and one zero point do the same: the pixel bytes are then the quantized values of the
    network's input.

    Raises InputError where a layer is used more than once, or where a layer's integer arithmetic is not known.
    """
    import tf_keras

    reused = [layer.name for layer in network.layers if len(layer.inbound_nodes) != 1]
    if reused:
        raise InputError(f"layers that are used more than once can't be quantized by themselves: {', '.join(reused)}")
    _refuse([layer for layer in network.layers if find_kind(layer) is None])
    codes, zero_byte, drops_rescale = _input_codes(network)
    readers = _readers(network)
    outputs: dict[str, Any] = {}
    weights: dict[str, list[Floats]] = {}
    for layer in network.layers:
        kind = kind_of(layer)
        before = [node.layer.name for node in layer.inbound_nodes[0].parent_nodes]
        if not before:
            images = outputs[layer.name] = tf_keras.Input(layer.output_shape[0][1:], name="images")
        elif kind.is_idle or (layer.name == RESCALE and drops_rescale):
            outputs[layer.name] = outputs[before[0]]
        elif kind.normalization and readers[before[0]] == 1 and _ends_in_weights(before[0], outputs[before[0]]):
            made_by = outputs[before[0]].node.layer
            weights[before[0]] = _folded(weights[before[0]], kind.normalization(layer), made_by)
            outputs[layer.name] = outputs[before[0]]
        else:
            outputs[layer.name], own = kind.copied(layer, [outputs[name] for name in before])
            weights |= own
    folded = tf_keras.Model(images, outputs[network.layers[-1].name])
    _refuse([layer for layer in folded.layers[1:] if not _is_computed(layer)])
    for name, values in weights.items():
        folded.get_layer(name).set_weights(values)
    return Folded(folded, codes, zero_byte)


def _input_codes(network: Any) -> tuple[InputCodes, float, bool]:
    """Return the input's scale and zero point, the exact byte of zero, and whether the rescaling layer can be dropped."""
    first = network.layers[0].name
    reads_pixels = [
        layer.name
        for layer in network.layers[1:]
        if first in [node.layer.name for node in layer.inbound_nodes[0].parent_nodes]
    ]
    if reads_pixels != [RESCALE]:  # before the rescaling, a layer's zeros are other pixels
        return InputCodes(PIXEL_SCALE, 0), 0.0, False
    kernel, offset = (values.reshape(-1) for values in network.get_layer(RESCALE).get_weights())
    scale, zero_point = float(kernel[0]) * PIXEL_SCALE, -float(offset[0]) / (float(kernel[0]) * PIXEL_SCALE)
    # Rounding the zero point moves the input by half a byte at most, less than a camera's error; fitting includes it.
    if np.ptp(kernel) or np.ptp(offset) or kernel[0] <= 0 or not -0.5 <= zero_point <= 255.5:
        return InputCodes(PIXEL_SCALE, 0), 0.0, False
    return InputCodes(scale, math.ceil(zero_point - 0.5)), zero_point, True


def _refuse(strange: list[Any]) -> None:
    if strange:
        named = ", ".join(f"{layer.name} ({type(layer).__name__})" for layer in strange[:5])
        raise InputError(f"the network has layers that can't be fitted to integers: {named}")


def _is_computed(layer: Any) -> bool:
    """Return whether a runtime computes a layer, in an operator of its own or in that of the layer before it."""
    kind = find_kind(layer)
    return kind is not None and (bool(kind.tflite) or host_of(layer) is not None)


def _readers(network: Any) -> dict[str, int]:
    """Count the layers that read each layer."""
    counts = {layer.name: 0 for layer in network.layers}
    for layer in network.layers:
        for node in layer.inbound_nodes[0].parent_nodes:
            counts[node.layer.name] += 1
    return counts


def _ends_in_weights(name: str, output: Any) -> bool:
    """Return whether ``output`` was made by a layer named ``name`` that has weights.

    That excludes an activation behind it, and a layer that was dropped.
    """
    return output.node.layer.name == name and is_weighted(output.node.layer)


def _folded(values: list[Floats], normalization: Normalization, layer: Any) -> list[Floats]:
    """Return the kernel and bias of ``layer`` followed by ``normalization``.

    The formula is eq. 14 of Jacob et al., 2018, arXiv:1712.05877.
    """
    kernel, bias = (np.asarray(v, np.float64) for v in values)
    mean, factor, offset = normalization.mean, normalization.factor, normalization.offset
    per_channel = factor.reshape(kernel.shape[-kernel_of(layer).num_output_axes :])
    return [(kernel * per_channel).astype(np.float32), ((bias - mean) * factor + offset).astype(np.float32)]
