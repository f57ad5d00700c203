"""A small network with what quantization has to deal with."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest

from tledge.cache import CachedRows, RowCache
from tledge.compression import PreparedNetwork

SIZE = 16
NUM_BLOCKS = 4


def in_codes(prepared: PreparedNetwork, pixels: np.ndarray) -> np.ndarray:
    """Logits, with every output that has a range in 8 bits."""
    import tensorflow as tf

    values = {prepared.network.layers[0].name: tf.constant(prepared.input_codes.real(pixels))}
    for layer in prepared.network.layers[1:]:
        read = [values[node.layer.name] for node in layer.inbound_nodes[0].parent_nodes]
        made = layer(read if len(read) > 1 else read[0])
        reach = prepared.ranges.get(layer.name)
        values[layer.name] = made if reach is None else tf.quantization.fake_quant_with_min_max_args(made, *reach)
    return values[layer.name].numpy()


def rows_of(photos: np.ndarray) -> CachedRows:
    """As the pixel cache holds them."""
    keys = [hashlib.sha256(photo.tobytes()).digest() for photo in photos]
    cache = RowCache(f"pixels-of-a-test/{SIZE}", photos.shape[1:], np.uint8)
    cache.add(zip(keys, photos, strict=True), len(keys))
    return cache.rows(keys)


@pytest.fixture
def network() -> Any:
    """Images in [0, 1] to logits: rescaled, normalized, depthwise, added, pooled; channels of very different size."""
    import tf_keras
    from tf_keras import layers

    from tledge.tensorflow_setup import tensorflow

    tensorflow(seed=0)
    x = images = layers.Input((SIZE, SIZE, 3), name="images")
    x = layers.DepthwiseConv2D(1, trainable=False, name="rescale")(x)
    x = layers.Conv2D(8, 3, 2, "same", use_bias=False, name="stem")(x)
    x = layers.ReLU(6.0, name="stem_relu")(layers.BatchNormalization(name="stem_bn")(x))
    for number in range(NUM_BLOCKS):
        before = x
        x = layers.DepthwiseConv2D(3, 1, "same", use_bias=False, name=f"depthwise_{number}")(x)
        x = layers.BatchNormalization(name=f"depthwise_bn_{number}")(x)
        x = layers.ReLU(6.0, name=f"depthwise_relu_{number}")(x)
        x = layers.Conv2D(8, 1, use_bias=False, name=f"project_{number}")(x)
        x = layers.BatchNormalization(name=f"project_bn_{number}")(x)
        x = layers.Add(name=f"add_{number}")([before, x])
    x = layers.MaxPooling2D(name="pool")(x)
    x = layers.Conv2D(12, 3, activation="relu", name="last")(x)
    x = layers.Dropout(0.5, name="dropout")(layers.GlobalAveragePooling2D(name="mean")(x))
    network = tf_keras.Model(images, layers.Dense(4, name="logits")(x))
    network.get_layer("rescale").set_weights([np.full((1, 1, 3, 1), 2.0), np.full(3, -1.0)])
    rng = np.random.default_rng(0)
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            count = layer.gamma.shape[0]
            spread = 2.0 ** rng.uniform(-3, 1, count)
            layer.set_weights([spread, rng.normal(0, 1, count), rng.normal(0, 0.3, count), rng.uniform(0.2, 2, count)])
    return network


def pictures(count: int, seed: int) -> np.ndarray:
    """Smooth ones, uint8 (count, SIZE, SIZE, 3)."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 4, 4, 3)).repeat(4, 1).repeat(4, 2)
    return np.clip(coarse + rng.normal(0, 12, coarse.shape), 0, 255).astype(np.uint8)


@pytest.fixture
def photos() -> np.ndarray:
    """Smooth pictures, uint8 (48, SIZE, SIZE, 3), with a black and a white pixel."""
    pixels = pictures(48, seed=1)
    pixels[0, 0, 0], pixels[0, 0, 1] = 0, 255
    return pixels
