"""This module says what a layer is to integer arithmetic, from its kind and its neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np

from tledge.compression.layer_kind import Kernel, LayerKind
from tledge.compression.layer_kinds import kinds


def find_kind(layer: Any) -> LayerKind | None:
    """Return the kind of a Keras layer, or None where its integer arithmetic is not known."""
    own = type(layer).__name__
    return next((kind for kind in kinds().values() if own in kind.classes and kind.claims(layer)), None)


def kind_of(layer: Any) -> LayerKind:
    """Return the kind of a layer of a folded network, whose layers are all known.

    Raises LookupError where the kind is not known.
    """
    kind = find_kind(layer)
    if kind is None:
        raise LookupError(f"no kind of layer is known for {layer.name} ({type(layer).__name__})")
    return kind


def kernel_of(layer: Any) -> Kernel:
    """Return how a layer multiplies by its weights.

    Raises LookupError where the layer has no weights.
    """
    kernel = kind_of(layer).kernel
    if kernel is None:
        raise LookupError(f"{layer.name} ({type(layer).__name__}) has no weights to be fitted")
    return kernel


def is_weighted(layer: Any) -> bool:
    """Return whether a layer multiplies by weights that are fitted."""
    return kind_of(layer).kernel is not None


def summing(network: Any) -> list[Any]:
    """Return the layers whose outputs add up several channels: convolutions and dense layers.

    They hold nearly all weights of a network.
    """
    return [layer for layer in network.layers if is_weighted(layer) and kernel_of(layer).sums_channels]


def has_pairs(layer: Any) -> bool:
    """Return whether a CPU may add products of a layer's weights in 16 bits.

    This can happen in all layers with weights, except those with exactly one kernel for each channel.
    """
    kernel = kernel_of(layer)
    shape = getattr(layer, kernel.name).shape
    num_outputs = int(np.prod(shape[-kernel.num_output_axes :]))
    return kernel.sums_channels or num_outputs > kernel.num_groups(layer)


def host_of(layer: Any) -> Any | None:
    """Return the layer whose operator also computes ``layer``, such as the convolution before a ReLU, or None."""
    before = [node.layer for node in layer.inbound_nodes[0].parent_nodes]
    if len(before) != 1 or len(before[0].outbound_nodes) != 1:
        return None
    kind, other = find_kind(layer), find_kind(before[0])
    return before[0] if kind and other and other.name in kind.part_of else None


def may_merge(layer: Any) -> bool:
    """Return whether a converter may make a layer part of all layers that read it, such as padding of a convolution."""
    into, readers = kind_of(layer).merges_into, [find_kind(node.layer) for node in layer.outbound_nodes]
    return bool(readers) and all(reader is not None and reader.name in into for reader in readers)


def is_fused(layer: Any) -> bool:
    """Return whether a layer's output is never quantized, because its only reader is part of the same operator."""
    readers = layer.outbound_nodes
    return len(readers) == 1 and host_of(readers[0].layer) is layer
