"""Few codes, and those that a compressed file holds cheaply."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest

from tledge.compression.clustering import codebook, codebooks, require_clusters
from tledge.compression.codes import Grid
from tledge.compression.folding import fold
from tledge.errors import InputError


@pytest.fixture(scope="module")
def codes() -> np.ndarray:
    """As of a trained layer: a bell whose widest weights have the code 127."""
    rng = np.random.default_rng(0)
    return np.clip(np.round(rng.normal(0, 30, (300, 200))), -127, 127).astype(np.int64)


@pytest.mark.parametrize("count", [4, 5, 8, 32, 33])
def test_there_are_no_more_codes_than_asked_for_and_the_largest_and_zero_are_among_them(
    codes: np.ndarray, count: int
) -> None:
    book = codebook(codes, count)
    assert len(book.values) <= count
    assert {-127, 0, 127} <= set(book.values.tolist())
    assert (np.diff(book.values) > 0).all()
    assert len(book.edges) == len(book.values) - 1
    assert set(np.unique(book.nearest(codes))) <= set(book.values.tolist())


def test_a_weight_of_the_largest_code_keeps_it_and_zero_stays_zero(codes: np.ndarray) -> None:
    book = codebook(codes, 8)
    assert book.nearest(np.array([-127.0, 0.0, 127.0])).tolist() == [-127, 0, 127]


def test_weights_go_to_a_code_near_them(codes: np.ndarray) -> None:
    book = codebook(codes, 32)
    inside = np.abs(codes) < 120
    assert np.abs(book.nearest(codes) - codes)[inside].max() < 50
    error = np.mean((book.nearest(codes) - codes) ** 2)
    assert error < 0.25 * np.mean(codes**2)


def test_the_codes_take_fewer_bytes_than_as_many_that_are_used_alike(codes: np.ndarray) -> None:
    def size(values: np.ndarray) -> int:
        return len(zlib.compress(values.astype(np.int8).tobytes(), 9))

    book = codebook(codes, 32)
    quantiles = np.quantile(codes, np.linspace(0, 1, 33)[1:-1])
    alike = np.searchsorted(quantiles, codes) * 8 - 128
    assert size(book.nearest(codes)) < 0.6 * size(alike)


@pytest.mark.parametrize("count", [-1, 0, 3, 257])
def test_a_number_of_clusters_that_cannot_be_is_an_error_with_the_way_out(count: int) -> None:
    with pytest.raises(InputError, match=f"--clusters {count}: use 4 to 256"):
        require_clusters(count)


def test_twice_as_many_clusters_are_a_bit_more_a_weight_and_a_quarter_of_the_squared_error(codes: np.ndarray) -> None:
    def bits_and_error(count: int) -> tuple[float, float]:
        found = codebook(codes, count).nearest(codes)
        shares = np.unique(found, return_counts=True)[1] / found.size
        return float(-(shares * np.log2(shares)).sum()), float(np.mean((found - codes) ** 2))

    (bits, error), (more_bits, less_error), (most_bits, least_error) = map(bits_and_error, (32, 64, 128))
    assert more_bits - bits == pytest.approx(1, abs=0.35)
    assert less_error / error == pytest.approx(0.25, abs=0.12)
    assert most_bits > more_bits + 0.65
    assert least_error < 0.37 * less_error


def test_weights_of_a_smaller_layer_go_to_codes_nearer_to_them() -> None:
    import tf_keras
    from tf_keras import layers

    from tledge.tensorflow_setup import tensorflow

    tensorflow(seed=0)
    images = layers.Input((16, 16, 3), name="images")
    x = layers.Conv2D(32, 1, kernel_initializer="random_normal", name="first")(images)
    x = layers.Conv2D(64, 1, kernel_initializer="random_normal", name="small")(x)
    x = layers.Conv2D(1024, 1, kernel_initializer="random_normal", name="large")(x)
    network = fold(tf_keras.Model(images, layers.GlobalAveragePooling2D(name="mean")(x))).network
    books, errors = codebooks(network, 32), {}
    for name, book in books.items():
        layer = network.get_layer(name)
        codes = Grid().codes_of(layer, layer.get_weights()[0])
        errors[name] = np.mean((book.nearest(codes) - codes) ** 2)
    assert set(errors) == {"small", "large"}
    assert errors["small"] < 0.5 * errors["large"]


def test_a_network_without_a_large_layer_is_an_error(network: Any) -> None:
    with pytest.raises(InputError, match="no layer of this network has so many weights"):
        codebooks(fold(network).network, 32)
