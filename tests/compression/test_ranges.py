"""Ranges cover what was seen, or what is worth its codes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tledge.compression.ranges import BINS, METHODS, Histogram, Range, least_squares, min_max


def _seen(values: np.ndarray) -> Histogram:
    """Of photos of a thousand values each."""
    photos = np.array_split(values, len(values) // 1000)
    lows, highs = (np.array([pick(photo) for photo in photos], np.float32) for pick in (np.min, np.max))
    return Histogram(values.min(), values.max(), np.histogram(values, BINS)[0], lows, highs)


def _error(values: np.ndarray, low: float, high: float) -> float:
    scale = (high - low) / 255
    zero_point = np.round(-low / scale)
    codes = np.clip(np.round(values / scale) + zero_point, 0, 255)
    return float(np.mean((scale * (codes - zero_point) - values) ** 2))


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    """A bell, and one value far out."""
    return np.append(np.random.default_rng(0).normal(0, 1, 100_000), 40.0)


def test_min_max_is_all_that_was_seen(values: np.ndarray) -> None:
    assert min_max(_seen(values)) == (pytest.approx(values.min()), 40.0)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("shift", [-9, 9])
def test_zero_always_has_a_code(method: object, shift: float) -> None:
    low, high = method(_seen(np.linspace(-1, 1, 5000) + shift))  # type: ignore[operator]
    assert low <= 0 <= high
    assert low < high


def test_halves_together_are_the_whole(values: np.ndarray) -> None:
    whole = _seen(values)
    counts = np.random.default_rng(0).binomial(whole.counts, 0.5)
    half = len(whole.lows) // 2
    one = Histogram(whole.low, whole.high, counts, whole.lows[:half], whole.highs[:half])
    other = Histogram(whole.low, whole.high, whole.counts - counts, whole.lows[half:], whole.highs[half:])
    for method in METHODS.values():
        assert method(one + other) == method(whole)


def test_least_squares_has_the_smaller_error(values: np.ndarray) -> None:
    low, high = least_squares(_seen(values))
    assert high < 40
    assert _error(values, low, high) < _error(values, *min_max(_seen(values)))


def test_least_squares_is_as_good_as_any_range_that_was_tried(values: np.ndarray) -> None:
    found = _error(values, *least_squares(_seen(values)))
    tried = [_error(values, a * values.min(), b * 40) for a in (0.3, 0.6, 1) for b in (0.3, 0.5, 0.75, 1)]
    assert found <= min(tried) * 1.01


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_an_output_that_is_always_zero_has_a_range_as_wide_as_those_of_other_layers(
    method: Callable[[Histogram], Range],
) -> None:
    zeros = np.zeros(4, np.float32)
    counts = np.zeros(BINS, np.int64)
    counts[0] = 4000
    low, high = method(Histogram(0.0, 1e-6, counts, zeros, zeros))
    assert low == 0
    assert 0.1 < high <= 1  # far from all others XNNPACK refuses the file, whose factors between codes are 256 at most
