"""What a layer of a network is to integer arithmetic: the row of its kind, and its place among its neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np

from tledge.compression.layer_kind import Kernel, LayerKind
from tledge.compression.layer_kinds import kinds


def find_kind(layer: Any) -> LayerKind | None:
    """Returns the kind of a Keras layer, or None where it is not known what the layer is to integers."""
    own = type(layer).__name__
    return next((kind for kind in kinds().values() if own in kind.classes and kind.claims(layer)), None)


def kind_of(layer: Any) -> LayerKind:
    """Returns the kind of a layer of a folded network, whose layers are all known. Raises LookupError for others."""
    kind = find_kind(layer)
    if kind is None:
        raise LookupError(f"no kind of layer is known for {layer.name} ({type(layer).__name__})")
    return kind


def kernel_of(layer: Any) -> Kernel:
    """Returns how a layer that has weights multiplies by them. Raises LookupError for others."""
    kernel = kind_of(layer).kernel
    if kernel is None:
        raise LookupError(f"{layer.name} ({type(layer).__name__}) has no weights to be fitted")
    return kernel


def is_weighted(layer: Any) -> bool:
    """Returns whether a layer multiplies by weights that are fitted."""
    return kind_of(layer).kernel is not None


def summing(network: Any) -> list[Any]:
    """Returns the layers whose outputs add up several channels, convolutions and dense layers: nearly all weights are theirs."""
    return [layer for layer in network.layers if is_weighted(layer) and kernel_of(layer).sums_channels]


def has_pairs(layer: Any) -> bool:
    """Returns whether a CPU may add products of a layer's weights in 16 bits.

    It may do so for all layers with weights but those with one kernel a channel.
    """
    kernel = kernel_of(layer)
    shape = getattr(layer, kernel.name).shape
    num_outputs = int(np.prod(shape[-kernel.num_output_axes :]))
    return kernel.sums_channels or num_outputs > kernel.num_groups(layer)


def host_of(layer: Any) -> Any | None:
    """Returns the layer whose operator computes ``layer`` as well, as that of a convolution does a ReLU; None without one."""
    before = [node.layer for node in layer.inbound_nodes[0].parent_nodes]
    if len(before) != 1 or len(before[0].outbound_nodes) != 1:
        return None
    kind, other = find_kind(layer), find_kind(before[0])
    return before[0] if kind and other and other.name in kind.part_of else None


def is_fused(layer: Any) -> bool:
    """Returns whether a layer's output has no quantized values: the one layer that reads it is part of its operator."""
    readers = layer.outbound_nodes
    return len(readers) == 1 and host_of(readers[0].layer) is layer
