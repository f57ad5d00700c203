"""A folded network computes what the network computes, from the bytes themselves."""

from __future__ import annotations

from collections.abc import Callable
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
    assert folded.get_layer("last/activation").activation.__name__ == "relu"


def _strange() -> dict[str, Callable[[Any], Any]]:
    """Steps from maps to maps of which runtimes make one operator, or several, that are no layers of the network."""
    from tf_keras import layers

    def shared(x: Any) -> Any:
        x = layers.Conv2D(3, 3, name="a")(x)
        return layers.Add()([x, layers.BatchNormalization(name="strange")(x)])

    return {
        "a normalization that is not alone behind its convolution": shared,
        "a ReLU of a sum": lambda x: layers.ReLU(name="strange")(layers.Add()([x, layers.Conv2D(3, 1)(x)])),
        "a ReLU with a slope": lambda x: layers.ReLU(negative_slope=0.1, name="strange")(layers.Conv2D(3, 1)(x)),
        "a cropping": lambda x: layers.Conv2D(3, 3)(layers.Cropping2D(name="strange")(x)),
        "a grouped convolution": layers.Conv2D(6, 1, groups=3, name="strange"),
        "a sum with a number": lambda x: layers.Conv2D(3, 1)(x) + 3.0,
        "a gate": lambda x: layers.Multiply(name="strange")([x, layers.Conv2D(3, 1, activation="sigmoid")(x)]),
    }


@pytest.mark.parametrize("name", _strange())
def test_what_a_runtime_would_make_of_a_layer_is_known_or_the_layer_is_named(name: str) -> None:
    import tf_keras
    from tf_keras import layers

    images = layers.Input((16, 16, 3))
    network = tf_keras.Model(images, layers.GlobalAveragePooling2D()(_strange()[name](images)))
    with pytest.raises(InputError, match="can't be fitted to integers: " + ("tf" if "number" in name else ".*strange")):
        fold(network)


def test_a_layer_that_is_used_twice_is_named() -> None:
    import tf_keras
    from tf_keras import layers

    images = layers.Input((16, 16, 3))
    twice = layers.Conv2D(3, 3, padding="same", name="twice")
    network = tf_keras.Model(images, layers.GlobalAveragePooling2D()(twice(twice(images))))
    with pytest.raises(InputError, match="used more than once.*: twice"):
        fold(network)


def test_zeros_before_the_rescaling_are_black_pixels_and_the_rescaling_stays(network: Any, photos: np.ndarray) -> None:
    import tf_keras
    from tf_keras import layers

    inputs = tf_keras.Input(photos.shape[1:])
    rescaled = layers.DepthwiseConv2D(1, name="rescale")(layers.ZeroPadding2D(1)(inputs))
    maps = layers.Conv2D(3, 3, name="stem")(rescaled)
    padded = tf_keras.Model(inputs, layers.GlobalAveragePooling2D()(maps))
    padded.get_layer("rescale").set_weights(network.get_layer("rescale").get_weights())
    folded = fold(padded)
    assert (folded.input_codes.scale, folded.input_codes.zero_point) == (pytest.approx(1 / 255), 0)
    expected = padded(photos.astype(np.float32) / 255).numpy()
    assert np.abs(folded.network(folded.images(photos)).numpy() - expected).max() < 1e-5 * np.ptp(expected)
