"""Scales and biases in few significant bits: of a compressed file with few codes, they take a third.

A scale of 32 bits is as good as random to a compressor, and a file has two of each channel: that of its weights, and that
of its bias, which is the product with the scale of what the channel reads.
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

_OF_A_STEP = 1 / 4  # of an output's codes: to what a bias may be rounded


def with_short_ranges(prepared: PreparedNetwork, bits: int) -> PreparedNetwork:
    """``prepared`` whose ranges are widened until the scale has so many significant bits, and a code for zero."""
    return replace(prepared, ranges={name: _short(one, bits) for name, one in prepared.ranges.items()})


def with_short_biases(prepared: PreparedNetwork, grids: Mapping[str, Grid]) -> PreparedNetwork:
    """``prepared`` whose biases are rounded to a small part of a step of what they are added to.

    It is a power of two times the scale that a file gives a bias, so that the lowest bits of its codes are zero. ``grids``: of
    every layer with weights, by name. Where all weights of a channel are next to zero, TensorFlow's converter takes a larger
    scale, in which the bias fits into 32 bits.
    """
    network = copied(prepared.network)
    ranges = {network.layers[0].name: prepared.input_codes.range, **prepared.ranges}
    for layer in filter(is_weighted, network.layers):
        kernel, bias = layer.get_weights()
        (before,) = layer.inbound_nodes[0].parent_nodes
        while before.layer.name not in ranges:  # it gives the codes that it reads
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
