"""Drift: worked by hand, and against other libraries."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from tledge.bench.answers import num_not_finite, softmax, why_no_probabilities
from tledge.records import PhotoAnswers
from tledge.statistics import difference_interval_points, mcnemar_p_value, wilson_interval
from tledge.verification.drift import drift, photo_answers
from tledge.verification.probabilities import expected_calibration_error

NAMES = ["daisy", "rose", "tulip"]

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
    found = drift(LABELS, ORIGINAL, ARTIFACT, NAMES)
    assert found.flips.right_to_wrong == 2
    assert found.flips.wrong_to_right == 1
    assert found.flips.wrong_to_wrong == 1
    assert found.agreement == pytest.approx(2 / 6)
    assert found.num_photos == 6


def test_photos_are_numbered_alike_however_they_were_ordered() -> None:
    draw = np.random.default_rng(0)
    truth, before, after = draw.integers(0, 3, (3, 40))
    contents = [bytes([key]) for key in draw.permutation(40)]
    contents[7] = contents[3]  # one picture under two labels: the label decides
    truth[3], truth[7] = 0, 1

    def answers(order: np.ndarray) -> PhotoAnswers:
        sides = (np.eye(3)[side[order]] for side in (before, after))
        return photo_answers(truth[order], *sides, [contents[photo] for photo in order], ["c", "b", "a"])

    found, places = answers(np.arange(40)), sorted(range(40), key=lambda photo: (contents[photo], -truth[photo]))
    assert found.wrong == [place for place, photo in enumerate(places) if after[photo] != truth[photo]]
    assert found.changed == [place for place, photo in enumerate(places) if after[photo] != before[photo]]
    assert all(answers(draw.permutation(40)) == found for _ in range(5))


def test_every_interval_belongs_to_its_own_counts() -> None:
    found = drift(LABELS, ORIGINAL, ARTIFACT, NAMES)
    assert (found.original_accuracy, found.accuracy) == (3 / 6, 2 / 6)
    assert found.original_accuracy_interval == wilson_interval(3, 6)
    assert found.accuracy_interval == found.agreement_interval == wilson_interval(2, 6)
    assert found.accuracy_drop_points_interval == difference_interval_points(2, 1, 6)
    assert found.mcnemar_p_value == mcnemar_p_value(2, 1) == 1.0


def test_classes_are_judged_by_their_own_photos() -> None:
    daisy, rose, tulip = drift(LABELS, ORIGINAL, ARTIFACT, NAMES).per_class
    assert [found.label for found in (daisy, rose, tulip)] == NAMES
    # Of two photos each. daisy: one lost, one gained. rose: one right on both sides. tulip: one lost, one wrong anew.
    assert (daisy.original_recall, daisy.recall, daisy.recall_drop_points) == (0.5, 0.5, 0.0)
    assert (rose.original_recall, rose.recall, rose.recall_drop_points) == (0.5, 0.5, 0.0)
    assert (tulip.original_recall, tulip.recall, tulip.recall_drop_points) == (0.5, 0.0, 50.0)
    flips = [tuple(found.flips.as_json().values()) for found in (daisy, rose, tulip)]
    assert flips == [(1, 1, 0), (0, 0, 0), (1, 0, 1)]
    for found, counts in zip((daisy, rose, tulip), [(1, 1), (0, 0), (1, 0)], strict=True):
        assert found.recall_drop_points_interval == difference_interval_points(*counts, 2)


def test_a_class_without_photos_has_flips_but_no_recall() -> None:
    table = np.hstack([ORIGINAL, np.zeros((6, 1))])
    missing = drift(LABELS, table, table, [*NAMES, "violet"]).per_class[3]
    assert (missing.num_photos, missing.original_recall, missing.recall) == (0, None, None)
    assert missing.recall_drop_points is missing.recall_drop_points_interval is None
    assert sum(missing.flips.as_json().values()) == 0


def test_macro_f1_is_over_the_classes_that_have_photos() -> None:
    labels = np.array([0, 0, 0, 1], np.int64)
    answers = np.eye(3)[[0, 0, 2, 1]]
    # Class 0: precision 1, recall 2/3. Class 1: perfect. Class 2 has no photo, and does not count.
    found = drift(labels, np.eye(3)[labels], answers, NAMES)
    assert found.original_macro_f1 == 1.0
    assert found.macro_f1 == pytest.approx((0.8 + 1.0) / 2)
    assert drift(labels, np.eye(3)[labels], np.eye(3)[[0, 0, 0, 0]], NAMES).macro_f1 == pytest.approx((6 / 7 + 0) / 2)


def test_confusions_count_each_pair_of_class_and_answer() -> None:
    found = drift(LABELS, ORIGINAL, ARTIFACT, NAMES)
    assert found.confusions == [(0, 0, 1), (0, 1, 1), (1, 0, 1), (1, 1, 1), (2, 1, 2)]


def test_the_drop_is_in_points_and_positive_where_the_artifact_is_worse() -> None:
    assert drift(LABELS, ORIGINAL, ARTIFACT, NAMES).accuracy_drop_points == pytest.approx(100 / 6)
    assert drift(LABELS, ARTIFACT, ORIGINAL, NAMES).accuracy_drop_points == pytest.approx(-100 / 6)
    assert drift(LABELS, ORIGINAL, ARTIFACT, NAMES).accuracy == pytest.approx(2 / 6)


def test_probability_differences_are_over_all_classes() -> None:
    found = drift(LABELS, ORIGINAL, ARTIFACT, NAMES)
    assert found.max_abs_probability_difference == pytest.approx(0.7)
    # 0.7+0.7+0, 0.7+0.7+0, 0, 0+0.5+0.5, 0.3+0.3+0, 0 over 18 numbers
    assert found.mean_abs_probability_difference == pytest.approx(4.4 / 18)


def _random_tables(num_photos: int, num_classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, float32 probabilities, and what an 8-bit output makes of somewhat different ones: exact zeros, ties."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (num_photos, num_classes))
    artifact = np.rint(softmax(logits + rng.normal(0, 0.3, logits.shape)) * 256).clip(0, 255) / 256
    labels = np.argmax(logits + rng.normal(0, 2, logits.shape), axis=1)
    return labels, softmax(logits).astype(np.float32), artifact.astype(np.float32)


@pytest.mark.parametrize(("num_photos", "num_classes"), [(1, 2), (33, 3), (100, 10), (700, 1000)])
def test_the_percentile_is_numpys_over_all_differences(num_photos: int, num_classes: int) -> None:
    labels, original, artifact = _random_tables(num_photos, num_classes)
    found = drift(labels, original, artifact, [str(index) for index in range(num_classes)])
    difference = np.abs(original.astype(np.float64) - artifact).astype(np.float32)
    assert found.p99_abs_probability_difference == float(np.quantile(difference, 0.99, method="inverted_cdf"))
    assert found.max_abs_probability_difference == pytest.approx(float(difference.max()), rel=1e-7)


def test_the_divergence_is_scipys_entropy_of_the_original_relative_to_the_artifact() -> None:
    from scipy.stats import entropy

    rng = np.random.default_rng(0)
    original, artifact = softmax(rng.normal(0, 2, (6, 3))), softmax(rng.normal(0, 1, (6, 3)))
    found = drift(LABELS, original, artifact, NAMES)
    assert found.mean_kl_divergence_nats == pytest.approx(np.mean(entropy(original, artifact, axis=1)), rel=1e-5)
    assert found.mean_kl_divergence_nats != pytest.approx(np.mean(entropy(artifact, original, axis=1)), rel=0.05)


def test_a_zero_of_the_artifact_costs_what_the_floor_costs() -> None:
    original, artifact = np.array([[0.75, 0.25]]), np.array([[1.0, 0.0]])
    found = drift(np.array([0]), original, artifact, NAMES[:2])
    expected = 0.75 * np.log(0.75) + 0.25 * np.log(0.25 / 1e-7)
    assert found.mean_kl_divergence_nats == pytest.approx(expected, rel=1e-5)


def test_the_divergence_is_never_negative_though_codes_of_8_bits_do_not_add_up_to_one() -> None:
    labels, original, artifact = _random_tables(500, 3)
    assert np.ptp(artifact.sum(axis=1)) > 0.003
    for side in (artifact, (original * 0.997).astype(np.float32)):
        assert all(
            drift(labels[[row]], original[[row]], side[[row]], NAMES).mean_kl_divergence_nats >= 0 for row in range(50)
        )
    assert drift(labels, original, (original * 0.997).astype(np.float32), NAMES).mean_kl_divergence_nats < 1e-6


def test_cosine_is_of_logits_and_only_where_both_are_given() -> None:
    left, right = (
        np.array([[1.0, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 0]]),
        np.array([[2.0, 0, 0], [1, 0, 0], [0, 0, 0], [0, 1, 0]]),
    )
    labels, table = LABELS[:4], ORIGINAL[:4]
    found = drift(labels, table, table, NAMES, original_logits=left, artifact_logits=right)
    # The same direction, 45 degrees, both without one, one without one.
    assert found.mean_logit_cosine == pytest.approx((1 + np.sqrt(0.5) + 1 + 0) / 4)
    assert drift(labels, table, table, NAMES, original_logits=left).mean_logit_cosine is None
    with pytest.raises(ValueError, match="do not fit"):
        drift(labels, table, table, NAMES, original_logits=left, artifact_logits=right[:3])
    with pytest.raises(ValueError, match="not finite"):
        drift(labels, table, table, NAMES, original_logits=left, artifact_logits=np.full((4, 3), np.nan))


def test_confidence_is_the_largest_probability() -> None:
    found = drift(LABELS, ORIGINAL, ARTIFACT, NAMES)
    assert found.original_mean_confidence == pytest.approx((0.8 + 0.8 + 0.7 + 0.7 + 0.6 + 0.7) / 6)
    assert found.mean_confidence == pytest.approx((0.8 + 0.8 + 0.7 + 0.7 + 0.6 + 0.7) / 6)


def test_the_calibration_error_is_over_15_bins_of_equally_many_photos() -> None:
    # Two photos a bin, told apart by confidence alone: the bins' errors are written down, then averaged.
    confidence = np.linspace(0.3, 0.99, 30)
    is_right = np.random.default_rng(1).random(30) < 0.6
    pairs = zip(confidence.reshape(15, 2), is_right.reshape(15, 2), strict=True)
    expected = np.mean([abs(part.mean() - right.mean()) for part, right in pairs])
    shuffled = np.random.default_rng(2).permutation(30)
    assert expected_calibration_error(confidence[shuffled], is_right[shuffled]) == pytest.approx(expected)
    assert expected_calibration_error(np.array([0.9, 0.6]), np.array([True, False])) == pytest.approx((0.1 + 0.6) / 2)


def test_the_calibration_error_of_equal_confidences_does_not_depend_on_the_order_of_the_photos() -> None:
    confidence = np.repeat([0.5, 0.75, 255 / 256], 200)
    is_right = np.tile([True, True, True, False], 150)
    errors = {
        round(expected_calibration_error(confidence[order], is_right[order]), 12)
        for order in (np.random.default_rng(seed).permutation(600) for seed in range(5))
    }
    # Each confidence fills five bins, and three of four photos are right.
    assert errors == {round((0.25 + 0 + 255 / 256 - 0.75) / 3, 12)}


def test_an_overconfident_artifact_is_worse_calibrated_than_its_original() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1.5, (4000, 5))
    labels = np.array([rng.choice(5, p=row) for row in softmax(logits)])
    found = drift(labels, softmax(logits), softmax(3 * logits), ["a", "b", "c", "d", "e"])
    assert found.agreement == 1
    assert found.original_expected_calibration_error < 0.03
    assert found.expected_calibration_error > 0.15
    assert found.mean_confidence > found.original_mean_confidence + 0.15


def test_memory_maps_are_compared_in_less_memory_than_they_would_fill(tmp_path: Path) -> None:
    num_photos, num_classes = 60_000, 100
    rng = np.random.default_rng(0)
    maps = []
    for name in ("original", "artifact"):
        made = np.memmap(tmp_path / name, np.float32, "w+", shape=(num_photos, num_classes))
        for start in range(0, num_photos, 1000):
            made[start : start + 1000] = rng.random((1000, num_classes), np.float32) / 50
        maps.append(made)
    labels = rng.integers(0, num_classes, num_photos)
    names = [str(index) for index in range(num_classes)]
    drift(labels[:100], maps[0][:100], maps[1][:100], names)  # what imports take is not the comparison's
    tracemalloc.start()
    drift(labels, *maps, names)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 8 * num_photos * num_classes / 2


def test_rows_that_are_not_finite_are_counted_in_every_block() -> None:
    values = np.zeros((3000, 300), np.float32)  # four blocks
    assert num_not_finite(values) == 0
    for row, number in ((0, np.nan), (1000, np.inf), (1000, np.nan), (2999, -np.inf)):
        values[row, 7 + (number > 0)] = number
    assert num_not_finite(values) == 3


def test_blocks_of_rows_add_up_to_the_whole() -> None:
    labels, original, artifact = _random_tables(2000, 300)  # three blocks, the last of them shorter
    found = drift(labels, original, artifact, [str(index) for index in range(300)])
    before, after = np.argmax(original, axis=1), np.argmax(artifact, axis=1)
    assert (found.original_accuracy, found.accuracy) == (np.mean(before == labels), np.mean(after == labels))
    assert found.agreement == np.mean(before == after)
    difference = np.abs(original.astype(np.float64) - artifact)
    assert found.mean_abs_probability_difference == pytest.approx(difference.mean(), rel=1e-12)
    assert found.max_abs_probability_difference == difference.max()
    assert found.mean_confidence == pytest.approx(np.max(artifact, axis=1).astype(np.float64).mean(), rel=1e-12)
    blocks = [
        drift(labels[half], original[half], artifact[half], [str(index) for index in range(300)])
        for half in (slice(0, 1000), slice(1000, 2000))
    ]
    expected = np.mean([block.mean_kl_divergence_nats for block in blocks])
    assert found.mean_kl_divergence_nats == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_numbers_that_are_not_finite_are_an_error(value: float, side: int) -> None:
    pair = [ORIGINAL.copy(), ARTIFACT.copy()]
    pair[side][3, 1] = value
    with pytest.raises(ValueError, match="not finite"):
        drift(LABELS, *pair, NAMES)


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
        drift(labels, original, artifact, NAMES)


def test_label_names_and_labels_that_do_not_fit_the_classes_are_an_error() -> None:
    with pytest.raises(ValueError, match="2 label names do not fit 3 classes"):
        drift(LABELS, ORIGINAL, ARTIFACT, NAMES[:2])
    for wrong in (-1, 3):
        with pytest.raises(ValueError, match="do not fit 3 classes"):
            drift(np.array([0, 0, 1, 2, wrong, 1]), ORIGINAL, ARTIFACT, NAMES)


def test_logits_in_place_of_probabilities_are_an_error() -> None:
    for side in (0, 1):
        pair = [ORIGINAL, ARTIFACT]
        pair[side] = 5 * pair[side] - 2
        with pytest.raises(ValueError, match=r"numbers from -1.5 to 2 are no probabilities"):
            drift(LABELS, *pair, NAMES)


def test_what_a_quantized_output_holds_passes_for_probabilities() -> None:
    # Its codes may miss 0 and 1 by a step, and rarely add up to one.
    assert why_no_probabilities(np.array([[-1 / 256, 256 / 255, 0.0], [0.25, 0.25, 0.49]])) is None
    assert why_no_probabilities(np.array([[-0.02, 1.0]])) == "numbers from -0.02 to 1 are no probabilities"
    assert why_no_probabilities(np.array([[0.5, np.nan]])) == "probabilities are not finite"


def test_softmax_is_scipys_and_does_not_overflow() -> None:
    from scipy import special

    rng = np.random.default_rng(0)
    logits = np.concatenate([rng.normal(0, 5, (50, 7)), [[1000, 999, -1000, 0, 0, 0, 0]]]).astype(np.float32)
    np.testing.assert_allclose(softmax(logits), special.softmax(logits.astype(np.float64), axis=1), rtol=1e-12)
    np.testing.assert_allclose(softmax(logits).sum(axis=1), 1, rtol=1e-12)
