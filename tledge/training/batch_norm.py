"""Statistics of batch normalizations are estimated again for the weights that training ended with."""

from __future__ import annotations

from typing import Any

import numpy as np

from tledge.cache import CachedRows
from tledge.preprocessing import PIXEL_SCALE
from tledge.progress import Progress

_BATCH = 64
_MAX_PHOTOS = 4096  # the error of a mean over so many photos is far below that of one batch


def estimate_again(network: Any, pixels: CachedRows, progress: Progress) -> None:
    """Replace the moving statistics of every trainable batch normalization by statistics of unchanged photos.

    Moving averages belong to earlier weights and to augmented photos. Averaged weights have no statistics at all
    (Izmailov et al. 2018, "Averaging weights leads to wider optima and better generalization", section 3.2).
    """
    import tf_keras

    layers = [
        layer
        for layer in network.layers
        if isinstance(layer, tf_keras.layers.BatchNormalization) and layer.trainable and layer.momentum is not None
    ]
    if not layers:
        return
    kept = [layer.momentum for layer in layers]
    chosen = pixels.select(np.arange(min(len(pixels), _MAX_PHOTOS)))
    try:
        with progress.step("statistics of the batch normalizations", len(chosen)) as advance:
            for number, batch in enumerate(chosen.batches(_BATCH)):
                for layer in layers:
                    layer.momentum = number / (number + 1)  # so that the moving mean is the mean of the batches
                network(np.asarray(batch, np.float32) * np.float32(PIXEL_SCALE), training=True)
                advance(len(batch))
    finally:
        for layer, momentum in zip(layers, kept, strict=True):
            layer.momentum = momentum
