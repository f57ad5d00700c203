"""Ranges by name, and by what the answers say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tledge.compression import Prepared
from tledge.compression.calibration import AUTO, calibrated, require_method
from tledge.compression.distillation import Examples, divergences
from tledge.compression.fitting import prepare
from tledge.compression.folding import Folded, fold
from tledge.compression.qat import quantized
from tledge.compression.ranges import METHODS
from tledge.errors import InputError
from tledge.progress import Silent

from .conftest import rows_of

Fit = Callable[[str], Prepared]


@pytest.fixture
def teacher(network: Any) -> Folded:
    return fold(network)


@pytest.fixture
def fit(teacher: Folded, photos: np.ndarray) -> Fit:
    return lambda method: prepare(teacher.copied(), photos[:40], method, Silent())


@pytest.fixture
def examples(teacher: Folded, photos: np.ndarray) -> Examples:
    return Examples(teacher, rows_of(photos[:40]), rows_of(photos[40:]), Silent())


def test_auto_takes_the_method_whose_answers_are_nearest(fit: Fit, examples: Examples) -> None:
    found = calibrated(fit, AUTO, examples)
    tried = found.notes["ranges_tried"]
    assert set(tried) == set(METHODS)
    assert tried[found.notes["ranges"]] == min(tried.values())
    student = quantized(found.network, found.ranges)
    found_mean = divergences(student, found.input_codes, examples).mean()
    assert found_mean == pytest.approx(min(tried.values()), abs=1e-5)


def test_a_method_by_name_gives_its_ranges(fit: Fit, examples: Examples) -> None:
    found = calibrated(fit, "min-max", examples)
    first = next(iter(found.ranges))
    one, other = found.seen[first]
    assert found.ranges[first] == (0.0, max(one.highs.max(), other.highs.max()))
    assert found.notes["ranges"] == "min-max"


def test_weights_are_fitted_to_the_ranges_of_their_method(fit: Fit, examples: Examples) -> None:
    """Those that were fitted to other ranges don't make up for what these cut off."""
    found = calibrated(fit, "entropy", examples)
    own, others = (fit(method).network.get_weights() for method in ("entropy", "mse"))
    assert all(map(np.array_equal, found.network.get_weights(), own))
    assert not all(map(np.array_equal, found.network.get_weights(), others))


def test_ranges_of_photos_that_differ_are_reported_as_unstable(
    teacher: Folded, photos: np.ndarray, examples: Examples
) -> None:
    def largest(pixels: np.ndarray) -> float:
        made = calibrated(lambda method: prepare(teacher.copied(), pixels, method, Silent()), "min-max", examples)
        return made.notes["range_stability"]["largest_difference"]

    same = np.repeat(photos[:8], 2, axis=0)  # both halves hold the same photos
    other = photos[:16].copy()
    other[1::2] //= 16  # every other photo is dark
    assert largest(same) == 0
    assert largest(other) > 0.2


def test_auto_without_validation_photos_is_an_error_that_says_so(fit: Fit, teacher: Folded, examples: Examples) -> None:
    none = examples.validation.select(np.array([], np.int64))
    nothing = Examples(teacher, examples.train, none, Silent())
    with pytest.raises(InputError, match="--calibration auto chooses by the validation split, which is empty"):
        calibrated(fit, AUTO, nothing)


def test_an_unknown_method_offers_the_nearest() -> None:
    with pytest.raises(InputError, match="Did you mean 'entropy'"):
        require_method("entropi")


def test_both_halves_hold_every_photo_once(fit: Fit) -> None:
    prepared = fit("mse")
    for one, other in prepared.seen.values():
        assert len(one.lows) == len(other.lows) == 20
        assert one.counts.sum() == other.counts.sum()
    assert prepared.seen.keys() == prepared.ranges.keys()


def test_a_single_photo_has_ranges_and_no_stability(teacher: Folded, photos: np.ndarray, examples: Examples) -> None:
    for method in METHODS:
        found = calibrated(lambda name: prepare(teacher.copied(), photos[:1], name, Silent()), method, examples)
        assert found.notes["range_stability"] is None
        assert found.ranges.keys() == found.seen.keys()
