"""Scales and biases that take few bits of a compressed file, and change hardly anything."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from small_models import most_significant_bits

from tledge.compression import PreparedNetwork
from tledge.compression.codes import Grid, in_few_bits
from tledge.compression.few_bits import with_short_biases, with_short_ranges
from tledge.compression.fitting import fit_network
from tledge.compression.folding import fold
from tledge.compression.layer_roles import is_weighted
from tledge.progress import Silent

BITS = 4
GRID = Grid(scale_bits=BITS)


@pytest.fixture
def prepared(network: Any, photos: np.ndarray) -> PreparedNetwork:
    return fit_network(fold(network), photos[:8], "min-max", Silent())


def test_a_number_in_few_bits_is_the_nearest_there_is() -> None:
    values = np.array([0.0117, 1.0, 0.99, 300.0])
    short = in_few_bits(values, BITS)
    assert most_significant_bits(short) <= BITS
    np.testing.assert_allclose(short, values, rtol=2.0**-BITS)
    assert short[1] == 1
    assert (in_few_bits(values, BITS, np.ceil) >= values).all()


@pytest.mark.parametrize("seed", range(5))
def test_a_file_derives_the_short_scale_from_the_largest_weight_again(network: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for layer in filter(is_weighted, fold(network).network.layers):
        kernel = rng.normal(size=layer.get_weights()[0].shape).astype(np.float32)
        coded = GRID.on_codes(layer, kernel)
        scale = GRID.scale_of(layer, kernel)
        assert most_significant_bits(scale) <= BITS
        codes = coded / scale
        np.testing.assert_array_equal(codes, np.round(codes))
        np.testing.assert_array_equal(GRID.on_codes(layer, coded), coded)
        np.testing.assert_array_equal(Grid().scale_of(layer, coded), scale)  # what converters do
        assert np.abs(codes).max() == 127
        assert np.abs(coded - kernel).max() <= np.abs(kernel).max() * 2.0**-BITS


def test_ranges_with_short_scales_hold_what_they_held(prepared: PreparedNetwork) -> None:
    short = with_short_ranges(prepared, BITS)
    assert short.ranges.keys() == prepared.ranges.keys()
    for name, (low, high) in short.ranges.items():
        was_low, was_high = prepared.ranges[name]
        scale = (high - low) / 255
        assert most_significant_bits(np.array(scale)) <= BITS
        assert -low / scale == round(-low / scale)  # zero has a code
        assert low <= was_low + scale / 2
        assert high >= was_high - scale / 2
        assert scale <= (was_high - was_low) / 255 * (1 + 2.0 ** (1 - BITS))


def test_biases_end_in_zeros_and_move_by_less_than_an_eighth_of_a_step(prepared: PreparedNetwork) -> None:
    grids = {layer.name: Grid() for layer in prepared.network.layers if is_weighted(layer)}
    short = with_short_biases(prepared, grids)
    is_shorter = 0
    for layer, before in zip(short.network.layers, prepared.network.layers, strict=True):
        if not is_weighted(layer):
            continue
        (kernel, bias), (kernel_before, bias_before) = layer.get_weights(), before.get_weights()
        np.testing.assert_array_equal(kernel, kernel_before)
        made = before if before.name in prepared.ranges else before.outbound_nodes[0].layer
        low, high = prepared.ranges[made.name]
        assert np.abs(bias - bias_before).max() <= (high - low) / 255 / 8 * (1 + 1e-6)
        (parent,) = before.inbound_nodes[0].parent_nodes
        read = prepared.ranges.get(parent.layer.name, prepared.input_codes.range)
        unit = (read[1] - read[0]) / 255 * grids[layer.name].scale_of(layer, kernel).reshape(-1)
        codes = bias.astype(np.float64) / unit
        np.testing.assert_allclose(codes, np.round(codes), atol=0.3)
        is_shorter += int(np.all(np.round(codes).astype(np.int64) % 4 == 0))
    assert is_shorter > len(grids) / 2
    assert prepared.network is not short.network


def test_a_layer_may_read_the_pixels_through_others_that_keep_their_codes(photos: np.ndarray) -> None:
    import tf_keras

    inputs = tf_keras.Input(photos.shape[1:])
    flat = tf_keras.layers.Flatten()(tf_keras.layers.MaxPooling2D()(inputs))
    network = tf_keras.Model(inputs, tf_keras.layers.Dense(3, name="logits")(flat))
    start = fit_network(fold(network), photos[:8], "min-max", Silent(), grids={"logits": GRID})
    short = with_short_biases(with_short_ranges(start, 2), {"logits": GRID})
    kernel, bias = short.network.get_layer("logits").get_weights()
    unit = start.input_codes.scale * GRID.scale_of(network.get_layer("logits"), kernel).reshape(-1)
    np.testing.assert_allclose(bias / unit, np.round(bias / unit), atol=1e-2)
