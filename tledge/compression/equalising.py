"""Channels of activations that are scaled up to what their tensor's codes reach.

A tensor of activations has one scale, so that a channel which stays far below the largest has few codes. Behind a ReLU a
channel may be larger by a factor which the next layer takes back (cross-layer equalisation, Nagel et al., 2019,
arXiv:1906.04721, section 4.1). Where that layer is a depthwise convolution, both kernels have scales by this very channel,
and their codes stay what they are. Another convolution has one scale for all channels that an output adds up: weights of those
that become larger lose codes, so it gets the root of the factor.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from tledge.compression.folding import CONVOLUTIONS, Floats, Folded, copied, is_depthwise, is_fused
from tledge.preprocessing import Pixels
from tledge.progress import Progress

# What a channel may become, in parts of the largest value that was seen of its tensor. Other photos reach farther than those
# that are looked at, and what is cut off at the end of a range, or at the 6 of a ReLU6, would be lost.
_REACH = 0.5
_MOST = 64.0  # of a factor: a channel that is nearly zero in these photos tells nothing of others, and its weights would vanish
_BATCH = 8  # photos whose activations of all such tensors are in memory


def equalised(folded: Folded, pixels: Pixels, progress: Progress) -> tuple[Folded, dict[str, Any]]:
    """A copy of ``folded`` that computes the same, with channels scaled up between two convolutions; and notes for the record.

    ``pixels``: representative photos, uint8 (N, S, S, 3); a channel that is zero in all of them stays as it is. Behind a ReLU6
    a channel that was scaled up is cut off where it reaches more than twice what it does in these photos.
    """
    network = copied(folded.network)
    pairs, num_channels = list(_pairs(network)), 0
    for (layer, reader), largest in zip(
        pairs, _largest(folded, [one.name for one, _ in pairs], pixels, progress), strict=True
    ):
        factor = np.clip(_REACH * largest.max() / np.where(largest > 0, largest, np.inf), 1, _MOST)
        if not is_depthwise(reader):
            factor = np.sqrt(factor)
        kernel, bias = layer.get_weights()
        # The output channels of a depthwise kernel, (h, w, channels, multiplier), are its last two axes.
        own = factor.reshape(kernel.shape[2:]) if is_depthwise(layer) else factor
        layer.set_weights([kernel * own, bias * factor])
        kernel, bias = reader.get_weights()
        reader.set_weights([kernel / factor[:, None], bias])
        num_channels += int(np.sum(factor > 1))
    return replace(folded, network=network), {"equalised_channels": num_channels}


def _pairs(network: Any) -> Iterator[tuple[Any, Any]]:
    """Convolutions with a ReLU, and the convolution that alone reads this."""
    for layer in filter(is_fused, network.layers):
        readers = [node.layer for node in layer.outbound_nodes[0].layer.outbound_nodes]
        if len(readers) == 1 and type(readers[0]).__name__ in CONVOLUTIONS:
            yield layer, readers[0]


def _largest(folded: Folded, names: list[str], pixels: Pixels, progress: Progress) -> list[Floats]:
    """The largest value of each channel behind the ReLUs of these layers, on all photos, float32 (channels,)."""
    import tensorflow as tf
    import tf_keras

    if not names:
        return []
    relus = [folded.network.get_layer(name).outbound_nodes[0].layer.output for name in names]
    read = tf_keras.Model(folded.network.input, relus)
    found = [np.zeros(relu.shape[-1], np.float32) for relu in relus]
    with progress.step("measuring channels", len(pixels)) as advance:
        for start in range(0, len(pixels), _BATCH):
            photos = folded.images(pixels[start : start + _BATCH])
            made = read(photos, training=False)
            for place, values in enumerate(made if len(names) > 1 else [made]):
                found[place] = np.maximum(found[place], tf.reduce_max(values, axis=(0, 1, 2)).numpy())
            advance(len(photos))
    return found
