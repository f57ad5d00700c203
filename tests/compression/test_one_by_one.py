"""Few codes, chosen so that the errors of inputs that move together make up for each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tledge.compression.codes import Grid, uniform
from tledge.compression.one_by_one import round_one_by_one

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
