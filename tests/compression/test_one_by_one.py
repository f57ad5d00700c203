"""Few codes, chosen so that the errors of inputs that move together make up for each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tledge.compression.codes import Grid, uniform
from tledge.compression.least_squares import Moments
from tledge.compression.one_by_one import on_coarse_codes, round_one_by_one

NUM_INPUTS, NUM_OUTPUTS = 24, 10
GRID = Grid(book=uniform(7))


@pytest.fixture
def dense() -> Any:
    import tf_keras

    layer = tf_keras.layers.Dense(NUM_OUTPUTS)
    layer.build((None, NUM_INPUTS))
    return layer


@pytest.fixture
def kernel() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(NUM_INPUTS, NUM_OUTPUTS))


@pytest.fixture
def inputs() -> np.ndarray:
    """Of which each moves with the others."""
    rng = np.random.default_rng(1)
    return rng.normal(size=(4000, 6)) @ rng.normal(size=(6, NUM_INPUTS)) + 0.1 * rng.normal(size=(4000, NUM_INPUTS))


def test_the_output_is_nearer_than_that_of_the_nearest_codes(
    dense: Any, kernel: np.ndarray, inputs: np.ndarray
) -> None:
    found = round_one_by_one(dense, kernel, np.cov(inputs.T), GRID)
    nearest = GRID.on_codes(dense, kernel)
    errors = [np.mean((inputs @ (rounded - kernel)) ** 2) for rounded in (found, nearest)]
    assert errors[0] < 0.4 * errors[1]


def test_of_inputs_that_do_not_move_together_it_gives_the_nearest_codes(dense: Any, kernel: np.ndarray) -> None:
    found = round_one_by_one(dense, kernel, np.diag(np.arange(1.0, NUM_INPUTS + 1)), GRID)
    np.testing.assert_allclose(found, GRID.on_codes(dense, kernel), rtol=1e-6)


def test_all_weights_have_codes_of_the_book_the_largest_its_own_and_what_is_not_free_is_zero(
    dense: Any, kernel: np.ndarray, inputs: np.ndarray
) -> None:
    free = np.random.default_rng(2).random(kernel.shape) < 0.5
    kernel = np.where(free, kernel, 0)
    found = round_one_by_one(dense, kernel, np.cov(inputs.T), GRID, free)
    codes = GRID.codes_of(dense, found)
    np.testing.assert_allclose(codes, np.round(codes), atol=1e-3)
    assert GRID.book is not None
    assert set(np.unique(np.round(codes))) <= set(GRID.book.values.tolist())
    assert not found[~free].any()
    largest = np.argmax(np.abs(kernel), axis=0)
    outputs = np.arange(NUM_OUTPUTS)
    np.testing.assert_allclose(found[largest, outputs], kernel[largest, outputs], rtol=1e-6)


def test_an_output_without_weights_stays_without(dense: Any, kernel: np.ndarray, inputs: np.ndarray) -> None:
    kernel[:, 3] = 0
    found = round_one_by_one(dense, kernel, np.cov(inputs.T), GRID, kernel != 0)
    assert not found[:, 3].any()
    assert np.isfinite(found).all()


def _read(inputs: np.ndarray, kernel: np.ndarray) -> Moments:
    """Sums of what a layer reads of some photos, and of what it gives with the kernel as it is."""
    sums = Moments(1, *kernel.shape)
    sums.shift = (np.zeros((1, kernel.shape[0]), np.float32), np.zeros((1, kernel.shape[1]), np.float32))
    sums.add(inputs[:, None].astype(np.float32), (inputs @ kernel)[:, None].astype(np.float32))
    return sums


def test_errors_make_up_for_each_other_where_the_other_half_of_the_photos_confirms_it(
    dense: Any, kernel: np.ndarray, inputs: np.ndarray
) -> None:
    halves = [_read(inputs[number::2], kernel) for number in range(2)]
    found = on_coarse_codes(dense, kernel, GRID, halves)
    np.testing.assert_array_equal(found, round_one_by_one(dense, kernel, (halves[0] + halves[1]).covariance()[0], GRID))
    assert not np.array_equal(found, GRID.on_codes(dense, kernel))


def test_where_the_other_half_moves_in_another_way_codes_are_the_nearest(
    dense: Any, kernel: np.ndarray, inputs: np.ndarray
) -> None:
    in_turns = np.where(np.arange(NUM_INPUTS) % 2, 1, -1)  # what moved together moves apart
    halves = [_read(inputs[::2], kernel), _read(inputs[1::2] * in_turns, kernel)]
    both = round_one_by_one(dense, kernel, (halves[0] + halves[1]).covariance()[0], GRID)
    nearest = GRID.on_codes(dense, kernel)
    assert not np.array_equal(both, nearest)
    np.testing.assert_array_equal(on_coarse_codes(dense, kernel, GRID, halves), nearest)


def test_one_half_alone_confirms_nothing(dense: Any, kernel: np.ndarray, inputs: np.ndarray) -> None:
    halves = [_read(inputs, kernel), _read(inputs[:0], kernel)]
    np.testing.assert_array_equal(on_coarse_codes(dense, kernel, GRID, halves), GRID.on_codes(dense, kernel))
