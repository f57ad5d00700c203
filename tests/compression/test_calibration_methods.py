"""Ranges by name, and by what the answers say."""

from __future__ import annotations

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


@pytest.fixture
def teacher(network: Any) -> Folded:
    return fold(network)


@pytest.fixture
def prepared(teacher: Folded, photos: np.ndarray) -> Prepared:
    return prepare(teacher.copied(), photos[:40], "mse", Silent())


@pytest.fixture
def examples(teacher: Folded, photos: np.ndarray) -> Examples:
    return Examples(teacher, rows_of(photos[:40]), rows_of(photos[40:]), Silent())


def test_auto_takes_the_method_whose_answers_are_nearest(prepared: Prepared, examples: Examples) -> None:
    found = calibrated(prepared, AUTO, examples, Silent())
    tried = found.notes["ranges_tried"]
    assert set(tried) == set(METHODS)
    assert tried[found.notes["ranges"]] == min(tried.values())
    student = quantized(found.network, found.ranges)
    found_mean = divergences(student, found.input_codes, examples).mean()
    assert found_mean == pytest.approx(min(tried.values()), abs=1e-5)


def test_a_method_by_name_gives_its_ranges(prepared: Prepared, examples: Examples) -> None:
    found = calibrated(prepared, "min-max", examples, Silent())
    first = next(iter(found.ranges))
    one, other = prepared.seen[first]
    assert found.ranges[first] == (0.0, max(one.highs.max(), other.highs.max()))
    assert found.notes["ranges"] == "min-max"


def test_ranges_of_photos_that_differ_are_reported_as_unstable(
    teacher: Folded, photos: np.ndarray, examples: Examples
) -> None:
    def largest(pixels: np.ndarray) -> float:
        made = prepare(teacher.copied(), pixels, "mse", Silent())
        return calibrated(made, "min-max", examples, Silent()).notes["range_stability"]["largest_difference"]

    same = np.repeat(photos[:8], 2, axis=0)  # both halves hold the same photos
    other = photos[:16].copy()
    other[1::2] //= 16  # every other photo is dark
    assert largest(same) == 0
    assert largest(other) > 0.2


def test_auto_without_validation_photos_is_an_error_that_says_so(
    prepared: Prepared, teacher: Folded, examples: Examples
) -> None:
    none = examples.validation.select(np.array([], np.int64))
    nothing = Examples(teacher, examples.train, none, Silent())
    with pytest.raises(InputError, match="--calibration auto chooses by the validation split, which is empty"):
        calibrated(prepared, AUTO, nothing, Silent())


def test_an_unknown_method_offers_the_nearest() -> None:
    with pytest.raises(InputError, match="Did you mean 'entropy'"):
        require_method("entropi")


def test_both_halves_hold_every_photo_once(prepared: Prepared) -> None:
    for one, other in prepared.seen.values():
        assert len(one.lows) == len(other.lows) == 20
        assert one.counts.sum() == other.counts.sum()
    assert prepared.seen.keys() == prepared.ranges.keys()


def test_a_single_photo_has_ranges_and_no_stability(teacher: Folded, photos: np.ndarray, examples: Examples) -> None:
    made = prepare(teacher.copied(), photos[:1], "mse", Silent())
    for method in METHODS:
        found = calibrated(made, method, examples, Silent())
        assert found.notes["range_stability"] is None
        assert found.ranges.keys() == made.ranges.keys()
