"""Ranges by the name of their method, and how much they depend on the photos."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tledge.compression import PreparedNetwork
from tledge.compression.calibration import require_method, with_stability
from tledge.compression.fitting import fit_network
from tledge.compression.folding import Folded, fold
from tledge.compression.ranges import METHODS
from tledge.errors import InputError
from tledge.progress import Silent

Fit = Callable[[str], PreparedNetwork]


@pytest.fixture
def teacher(network: Any) -> Folded:
    return fold(network)


@pytest.fixture
def fit(teacher: Folded, photos: np.ndarray) -> Fit:
    return lambda method: fit_network(teacher.copied(), photos[:40], method, Silent())


def test_a_method_by_name_gives_its_ranges(fit: Fit) -> None:
    found = fit("min-max")
    first = next(iter(found.ranges))
    one, other = found.histograms[first]
    assert found.ranges[first] == (0.0, max(one.highs.max(), other.highs.max()))
    assert found.fitting.ranges == "min-max"


def test_weights_are_fitted_to_the_ranges_of_their_method(fit: Fit) -> None:
    """Those that were fitted to other ranges don't make up for what these cut off."""
    one, same, other = (fit(method).network.get_weights() for method in ("mse", "mse", "min-max"))
    assert all(map(np.array_equal, one, same))
    assert not all(map(np.array_equal, one, other))


def test_ranges_of_photos_that_differ_are_reported_as_unstable(teacher: Folded, photos: np.ndarray) -> None:
    def largest(pixels: np.ndarray) -> float:
        made = with_stability(fit_network(teacher.copied(), pixels, "min-max", Silent()))
        assert made.fitting.range_stability is not None
        return made.fitting.range_stability.largest_difference

    same = np.repeat(photos[:8], 2, axis=0)  # both halves hold the same photos
    other = photos[:16].copy()
    other[1::2] //= 16  # every other photo is dark
    assert largest(same) == 0
    assert largest(other) > 0.2


def test_an_unknown_method_offers_the_nearest() -> None:
    with pytest.raises(InputError, match="Did you mean 'min-max'"):
        require_method("minmax")


def test_both_halves_hold_every_photo_once(fit: Fit) -> None:
    prepared = fit("mse")
    for one, other in prepared.histograms.values():
        assert len(one.lows) == len(other.lows) == 20
        assert one.counts.sum() == other.counts.sum()
    assert prepared.histograms.keys() == prepared.ranges.keys()


def test_a_single_photo_has_ranges_and_no_stability(teacher: Folded, photos: np.ndarray) -> None:
    for method in METHODS:
        found = with_stability(fit_network(teacher.copied(), photos[:1], method, Silent()))
        assert found.fitting.range_stability is None
        assert found.ranges.keys() == found.histograms.keys()
