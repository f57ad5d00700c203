"""Drift, worked by hand, and the softmax."""

from __future__ import annotations

import numpy as np
import pytest

from tledge.verification.drift import drift, softmax

# Original: right, wrong (1), right, right, wrong (0), wrong (0).
# Artifact: wrong, right, right, wrong, wrong in another way (1), as wrong as before.
LABELS = np.array([0, 0, 1, 2, 2, 1], np.int64)
ORIGINAL = np.array(
    [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.2, 0.7, 0.1], [0.1, 0.2, 0.7], [0.6, 0.3, 0.1], [0.7, 0.2, 0.1]]
)
ARTIFACT = np.array(
    [[0.1, 0.8, 0.1], [0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.7, 0.2], [0.3, 0.6, 0.1], [0.7, 0.2, 0.1]]
)


def test_flips_are_counted_three_ways() -> None:
    found = drift(LABELS, ORIGINAL, ARTIFACT)
    assert found.flips_right_to_wrong == 2
    assert found.flips_wrong_to_right == 1
    assert found.flips_wrong_to_wrong == 1
    assert found.agreement == pytest.approx(2 / 6)
    assert found.num_photos == 6


def test_the_drop_is_in_points_and_positive_where_the_artifact_is_worse() -> None:
    assert drift(LABELS, ORIGINAL, ARTIFACT).accuracy_drop_points == pytest.approx(100 / 6)
    assert drift(LABELS, ARTIFACT, ORIGINAL).accuracy_drop_points == pytest.approx(-100 / 6)
    assert drift(LABELS, ORIGINAL, ARTIFACT).accuracy == pytest.approx(2 / 6)


def test_probability_differences_are_over_all_classes() -> None:
    found = drift(LABELS, ORIGINAL, ARTIFACT)
    assert found.max_abs_probability_difference == pytest.approx(0.7)
    # 0.7+0.7+0, 0.7+0.7+0, 0, 0+0.5+0.5, 0.3+0.3+0, 0 over 18 numbers
    assert found.mean_abs_probability_difference == pytest.approx(4.4 / 18)


def test_nothing_drifts_from_itself() -> None:
    found = drift(LABELS, ORIGINAL, ORIGINAL.astype(np.float32).astype(np.float64))
    assert (found.agreement, found.accuracy_drop_points) == (1.0, 0.0)
    assert found.max_abs_probability_difference < 1e-7


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_numbers_that_are_not_finite_are_an_error(value: float, side: int) -> None:
    pair = [ORIGINAL.copy(), ARTIFACT.copy()]
    pair[side][3, 1] = value
    with pytest.raises(ValueError, match="not finite"):
        drift(LABELS, *pair)


@pytest.mark.parametrize(
    ("labels", "original", "artifact"),
    [
        (LABELS, ORIGINAL, ARTIFACT[:4]),
        (LABELS, ORIGINAL, ARTIFACT[:, :2]),
        (LABELS[:5], ORIGINAL, ARTIFACT),
        (LABELS[:0], ORIGINAL[:0], ARTIFACT[:0]),
    ],
)
def test_shapes_that_do_not_fit_are_an_error(labels: np.ndarray, original: np.ndarray, artifact: np.ndarray) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        drift(labels, original, artifact)


def test_softmax_is_scipys_and_does_not_overflow() -> None:
    from scipy import special

    rng = np.random.default_rng(0)
    logits = np.concatenate([rng.normal(0, 5, (50, 7)), [[1000, 999, -1000, 0, 0, 0, 0]]]).astype(np.float32)
    np.testing.assert_allclose(softmax(logits), special.softmax(logits.astype(np.float64), axis=1), rtol=1e-12)
    np.testing.assert_allclose(softmax(logits).sum(axis=1), 1, rtol=1e-12)
