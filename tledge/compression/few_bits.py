"""This module rounds scales and biases to few significant bits.

They take a third of a compressed file whose weights have few quantized values. A scale of 32 bits looks random to a
compressor. A file has two scales for each channel: the scale of its weights and the scale of its bias. The latter is
the product of the former and the scale of the layer's input.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from tledge.compression.codes import Grid, in_few_bits
from tledge.compression.folding import copied
from tledge.compression.layer_roles import is_fused, is_weighted
from tledge.compression.prepared_network import PreparedNetwork
from tledge.compression.ranges import LEVELS, Range, scale_of

_OF_A_STEP = 1 / 4  # a bias is rounded to at most this part of a step of the layer's output


def with_short_ranges(prepared: PreparedNetwork, bits: int) -> PreparedNetwork:
    """Return ``prepared`` with ranges that are widened until each scale has only ``bits`` significant bits.

    Zero still has an exact quantized value in each range. The input's range stays, because its quantized values are
    the pixels, and so does that of a layer that passes them on.
    """
    pixels = prepared.input_codes.range
    ranges = {name: one if one == pixels else _short(one, bits) for name, one in prepared.ranges.items()}
    return replace(prepared, ranges=ranges)


def with_short_biases(prepared: PreparedNetwork, grids: Mapping[str, Grid]) -> PreparedNetwork:
    """Return ``prepared`` with biases rounded to a small part of one quantization step of the layer's output.

    The unit is a power of two times the scale that a file gives the bias. So the lowest bits of the quantized bias
    are zero. ``grids`` has the grid of every layer with weights, by name. Where all weights of a channel are almost
    zero, TensorFlow's converter takes a larger scale, in which the bias fits into 32 bits.
    """
    network = copied(prepared.network)
    ranges = {network.layers[0].name: prepared.input_codes.range, **prepared.ranges}
    for layer in filter(is_weighted, network.layers):
        kernel, bias = layer.get_weights()
        (before,) = layer.inbound_nodes[0].parent_nodes
        while before.layer.name not in ranges:  # such a layer passes quantized values through
            (before,) = before.layer.inbound_nodes[0].parent_nodes
        read = ranges[before.layer.name]
        last = layer.outbound_nodes[0].layer if is_fused(layer) else layer
        made = ranges[last.name]
        own = scale_of(*read) * grids[layer.name].scale_of(layer, kernel).reshape(-1)
        unit = own * 2.0 ** np.maximum(0, np.floor(np.log2(_OF_A_STEP * scale_of(*made) / own)))
        layer.set_weights([kernel, (np.round(bias / unit) * unit).astype(np.float32)])
    return replace(prepared, network=network)


def _short(covered: Range, bits: int) -> Range:
    scale = float(in_few_bits(scale_of(*covered), bits, np.ceil))
    zero_point = round(-covered[0] / scale)
    return -zero_point * scale, (LEVELS - zero_point) * scale
