"""This module compares two sets of class probabilities of the same photos.

It reads blocks of rows, so the arrays may be memory maps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tledge.bench.answers import blocks, why_no_probabilities

Floats = npt.NDArray[np.floating]
Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

ZERO_FLOOR = 1e-7
"""The KL divergence raises smaller probabilities to this value, because int8 outputs hold exact zeros. It is about one
float32 step at 1."""
NUM_CALIBRATION_BINS = 15


@dataclass(frozen=True)
class Answers:
    """The answers are the top-1 class (int64) and its probability (float64) for every photo, both (N,).

    Where several classes have the largest probability, as 8-bit outputs often do, the first of them counts, as in an
    argmax on the device.
    """

    predicted: Integers
    confidence: Doubles


@dataclass(frozen=True)
class ProbabilityComparison:
    """A comparison holds both sides' answers and how far apart their probabilities are.

    Largest, mean and 99th percentile are over all N x C absolute differences.
    """

    original: Answers
    artifact: Answers
    max_abs_difference: float
    mean_abs_difference: float
    p99_abs_difference: float
    mean_kl_divergence_nats: float


def compare_probabilities(original: Floats, artifact: Floats) -> ProbabilityComparison:
    """Compare probabilities (N, C), N and C at least 1, of the same photos.

    The divergence is the mean over photos of KL(original || artifact) = sum p ln(p / q) (Kullback & Leibler 1951),
    after both have been raised to at least 1e-7 and divided by their sum. The 99th percentile is the smallest
    difference that 99% of all differences do not exceed, exact to float32: see :func:`_order_statistic`.

    Raises ValueError for numbers that are not finite, or outside 0..1 by more than 0.01.
    """
    from scipy.special import rel_entr

    num_photos, num_classes = original.shape
    answers = [Answers(np.empty(num_photos, np.int64), np.empty(num_photos, np.float64)) for _ in range(2)]
    largest, total, divergence = 0.0, 0.0, 0.0
    for rows in blocks(num_photos, num_classes):
        p, q = _checked(original[rows]), _checked(artifact[rows])
        for side, values in zip(answers, (p, q), strict=True):
            side.predicted[rows] = np.argmax(values, axis=1)
            side.confidence[rows] = np.max(values, axis=1)
        difference = np.abs(p - q)
        largest = max(largest, float(np.max(difference)))
        total += float(np.sum(difference))
        of_photos = np.sum(rel_entr(_floored(p), _floored(q)), axis=1)
        divergence += float(np.sum(np.maximum(of_photos, 0)))  # rounding alone can put it a hair below zero
    count = num_photos * num_classes
    return ProbabilityComparison(
        original=answers[0],
        artifact=answers[1],
        max_abs_difference=largest,
        mean_abs_difference=total / count,
        p99_abs_difference=_order_statistic(original, artifact, -(-99 * count // 100)),
        mean_kl_divergence_nats=divergence / num_photos,
    )


def mean_cosine(original: Floats, artifact: Floats) -> float:
    """Return the mean over photos of the cosine between two vectors of logits, in -1..1.

    Both arrays are (N, C), with N at least 1. A photo whose logits are all zero counts 0 if that is so on one side, and
    1 if on both. Raises ValueError where a logit is not finite.
    """
    total = 0.0
    for rows in blocks(*original.shape):
        a, b = np.asarray(original[rows], np.float64), np.asarray(artifact[rows], np.float64)
        if not (np.all(np.isfinite(a)) and np.all(np.isfinite(b))):
            raise ValueError("logits are not finite")
        length_a, length_b = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
        lengths = length_a * length_b
        cosine = np.sum(a * b, axis=1) / np.where(lengths > 0, lengths, 1)
        total += float(np.sum(np.where((length_a == 0) & (length_b == 0), 1.0, np.clip(cosine, -1, 1))))
    return total / len(original)


def expected_calibration_error(confidence: Doubles, is_right: npt.NDArray[np.bool_]) -> float:
    """Return the mean distance between confidence and accuracy over 15 bins of equally many photos, in 0..1.

    Both arrays are (N,), with N at least 1. The source is Naeini et al. 2015 (AAAI), with the equal-mass bins of Nixon
    et al. 2019 (CVPR workshops), in which every bin is measured equally well. Bins weigh by their photos. Photos of
    equal confidence, which 8-bit outputs often give, share their mean accuracy, so that the order of the photos does
    not matter. Chance alone makes the error positive, and more so with few photos: compare two models on the same
    photos with each other, not one model with zero.
    """
    _, group, sizes = np.unique(confidence, return_inverse=True, return_counts=True)
    accuracy = (np.bincount(group, weights=is_right) / sizes)[group]
    excess = (confidence - accuracy)[np.argsort(confidence)]
    bins = np.array_split(excess, min(NUM_CALIBRATION_BINS, len(excess)))
    return float(sum(abs(np.sum(part)) for part in bins) / len(excess))


def _checked(block: Floats) -> Doubles:
    if problem := why_no_probabilities(block):
        raise ValueError(problem)
    return np.asarray(block, np.float64)


def _floored(block: Doubles) -> Doubles:
    raised = np.maximum(block, ZERO_FLOOR)
    return np.asarray(raised / np.sum(raised, axis=1, keepdims=True))


def _order_statistic(original: Floats, artifact: Floats, rank: int) -> float:
    """Return the ``rank``-th smallest (from 1) of all |original - artifact|, rounded to float32.

    Float32 numbers that are not negative have the same order as their bits, read as integers. So two passes, which
    count the upper and then the lower 16 bits, find the number in a fixed amount of memory.
    """
    prefix = 0
    for level in (0, 1):
        counts = np.zeros(1 << 16, np.int64)
        for rows in blocks(*original.shape):
            difference = np.abs(np.asarray(original[rows], np.float64) - artifact[rows])
            bits = difference.astype(np.float32).ravel().view(np.uint32)
            digits = bits >> 16 if level == 0 else bits[bits >> 16 == prefix] & 0xFFFF
            counts += np.bincount(digits, minlength=1 << 16)
        reached = np.cumsum(counts)
        digit = int(np.searchsorted(reached, rank))
        rank -= int(reached[digit] - counts[digit])
        prefix = prefix << 16 | digit
    return float(np.array(prefix, np.uint32).view(np.float32))
