"""Few codes, and those that a compressed file holds cheaply."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from tledge.compression.clustering import codebook, require_clusters
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
    assert error < 0.2 * np.mean(codes**2)


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
