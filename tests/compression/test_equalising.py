"""Channels that are scaled up for their codes, which changes neither what a network computes nor any weight's code."""

from __future__ import annotations

import numpy as np
import pytest

from tledge.compression import Prepared
from tledge.compression.codes import Grid
from tledge.compression.equalising import equalised
from tledge.compression.folding import Folded, fold, is_weighted
from tledge.compression.ranges import Range
from tledge.progress import Silent

from .conftest import SIZE, in_codes


@pytest.fixture
def folded() -> Folded:
    """A block as MobileNetV2 has it, with channels of very different size behind its first ReLU."""
    import tf_keras
    from tf_keras import layers

    from tledge.tensorflow_setup import tensorflow

    tensorflow(seed=0)
    images = layers.Input((SIZE, SIZE, 3), name="images")
    x = layers.ReLU(6.0, name="first_relu")(layers.Conv2D(16, 1, name="first")(images))
    x = layers.ReLU(6.0, name="second_relu")(layers.DepthwiseConv2D(3, name="second")(x))
    x = layers.Conv2D(8, 1, name="third")(x)
    network = tf_keras.Model(images, layers.Dense(4, name="logits")(layers.GlobalAveragePooling2D(name="mean")(x)))
    kernel, bias = network.get_layer("first").get_weights()
    spread = 2.0 ** np.linspace(-5, 1, 16)
    network.get_layer("first").set_weights([kernel * spread, bias])
    kernel, bias = network.get_layer("second").get_weights()
    network.get_layer("second").set_weights([kernel / spread[:, None], bias])
    return fold(network)


def _relus(folded: Folded, photos: np.ndarray) -> dict[str, np.ndarray]:
    """What each ReLU gives, by its name."""
    import tf_keras

    layers = [layer for layer in folded.network.layers if type(layer).__name__ == "ReLU"]
    made = tf_keras.Model(folded.network.input, [layer.output for layer in layers])(folded.images(photos))
    return {layer.name: values.numpy() for layer, values in zip(layers, made, strict=True)}


def test_the_network_computes_the_same_and_weights_about_a_depthwise_convolution_keep_their_codes(
    folded: Folded, photos: np.ndarray
) -> None:
    made, notes = equalised(folded, photos[:20], Silent())
    before, after = (one.network(one.images(photos[20:])).numpy() for one in (folded, made))
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-4 * np.abs(before).max())
    is_changed = 0
    for layer, new in zip(folded.network.layers, made.network.layers, strict=True):
        if is_weighted(layer):
            codes = [Grid().codes_of(one, one.get_weights()[0]) for one in (layer, new)]
            if layer.name != "third":
                np.testing.assert_allclose(*codes, rtol=1e-4, atol=1e-4)
            is_changed += not np.array_equal(layer.get_weights()[0], new.get_weights()[0])
    assert is_changed == 3
    assert 0 < notes["equalised_channels"] < 32


def test_a_small_channel_before_a_depthwise_convolution_reaches_half_of_what_the_largest_does(
    folded: Folded, photos: np.ndarray
) -> None:
    before, after = (_relus(one, photos[:20]) for one in (folded, equalised(folded, photos[:20], Silent())[0]))
    largest, wanted = (values["first_relu"].max(axis=(0, 1, 2)) for values in (after, before))
    half = wanted.max() / 2
    assert (wanted < half).any()
    np.testing.assert_allclose(largest[wanted > 0], np.clip(half, wanted, 64 * wanted)[wanted > 0], rtol=1e-4)
    # A convolution reads it, whose weights lose codes.
    grown, wanted = (values["second_relu"].max(axis=(0, 1, 2)) for values in (after, before))
    factor = np.clip(wanted.max() / 2 / wanted[wanted > 0], 1, 64)
    np.testing.assert_allclose(grown[wanted > 0], wanted[wanted > 0] * np.sqrt(factor), rtol=1e-4)


def test_its_activations_in_8_bits_are_nearer_to_the_float_networks(folded: Folded, photos: np.ndarray) -> None:
    errors = []
    for one in (folded, equalised(folded, photos[:20], Silent())[0]):
        ranges: dict[str, Range] = {"first_relu": (0.0, float(_relus(one, photos[20:])["first_relu"].max()))}
        coded = in_codes(Prepared(one.network, one.input_codes, ranges, {}), photos[20:])
        errors.append(np.abs(coded - one.network(one.images(photos[20:])).numpy()).mean())
    assert errors[1] < 0.8 * errors[0]


def test_no_channel_is_scaled_up_without_bound(folded: Folded, photos: np.ndarray) -> None:
    first = folded.network.get_layer("first")
    kernel, bias = first.get_weights()
    kernel[..., 0], bias[0] = 1e-7, 1e-7
    first.set_weights([kernel, bias])
    made, _ = equalised(folded, photos, Silent())
    np.testing.assert_allclose(made.network.get_layer("first").get_weights()[0][..., 0], 64e-7, rtol=1e-5)
