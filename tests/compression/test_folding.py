"""A folded network computes what the network computes, from the bytes themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tledge.compression.folding import fold
from tledge.errors import InputError


def test_a_folded_network_computes_the_same_with_no_batch_normalization_left(network: Any, photos: np.ndarray) -> None:
    folded = fold(network)
    expected = network(photos.astype(np.float32) / 255, training=False).numpy()
    found = folded.network(folded.images(photos), training=False).numpy()
    assert np.abs(found - expected).max() < 1e-4 * np.ptp(expected)
    kinds = {type(layer).__name__ for layer in folded.network.layers}
    assert not kinds & {"BatchNormalization", "Dropout"}
    # Zero lies between two bytes, and a zero point is one of them.
    assert (folded.input_codes.scale, folded.input_codes.zero_point) == (pytest.approx(2 / 255), 127)
    assert folded.zero_byte == pytest.approx(127.5)
    assert np.abs(folded.input_codes.real(photos) - folded.images(photos)).max() <= 0.5001 * 2 / 255


def test_a_network_that_takes_what_no_single_scale_says_keeps_its_rescaling(network: Any, photos: np.ndarray) -> None:
    layer = network.get_layer("rescale")
    layer.set_weights([np.full((1, 1, 3, 1), 255.0), np.array([-103.9, -116.8, -123.7])])
    folded = fold(network)
    assert (folded.input_codes.scale, folded.input_codes.zero_point) == (pytest.approx(1 / 255), 0)
    expected = network(photos.astype(np.float32) / 255, training=False).numpy()
    found = folded.network(folded.input_codes.real(photos), training=False).numpy()
    assert np.abs(found - expected).max() < 1e-4 * np.ptp(expected)


def test_an_activation_inside_a_layer_becomes_a_layer_of_its_own(network: Any) -> None:
    folded = fold(network).network
    assert folded.get_layer("last").activation.__name__ == "linear"
    assert folded.get_layer("last_activation").activation.__name__ == "relu"


def test_a_normalization_that_shares_its_convolution_stays(photos: np.ndarray) -> None:
    import tf_keras
    from tf_keras import layers

    images = layers.Input((16, 16, 3))
    shared = layers.Conv2D(4, 3, name="shared")(images)
    normalized = layers.BatchNormalization(name="norm")(shared)
    network = tf_keras.Model(images, layers.GlobalAveragePooling2D()(layers.Add()([shared, normalized])))
    folded = fold(network)
    assert "norm" in [layer.name for layer in folded.network.layers]
    inputs = photos.astype(np.float32) / 255
    assert np.allclose(folded.network(inputs), network(inputs), atol=1e-5)


def test_a_layer_that_is_used_twice_is_named() -> None:
    import tf_keras
    from tf_keras import layers

    images = layers.Input((16, 16, 3))
    twice = layers.Conv2D(3, 3, padding="same", name="twice")
    network = tf_keras.Model(images, layers.GlobalAveragePooling2D()(twice(twice(images))))
    with pytest.raises(InputError, match="used more than once.*: twice"):
        fold(network)
