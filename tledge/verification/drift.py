"""These pure functions compare an artifact's answers with the original's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tledge.records import ClassDrift, Drift, Flips, Interval, PhotoAnswers
from tledge.scores import confusions, macro_f1
from tledge.statistics import (
    difference_bounds,
    difference_interval_points,
    mcnemar_p_value,
    wilson_interval,
)
from tledge.verification.probabilities import (
    Floats,
    Integers,
    compare_probabilities,
    expected_calibration_error,
    mean_cosine,
)


def drift(
    labels: Integers,
    original: Floats,
    artifact: Floats,
    label_names: Sequence[str],
    *,
    original_logits: Floats | None = None,
    artifact_logits: Floats | None = None,
) -> Drift:
    """Compare an artifact's probabilities with the original's on the same N photos.

    Drops are in points, 100 * (original - artifact). Macro F1 is the mean over the classes that occur in ``labels``; a
    class that is never predicted counts 0. Each interval holds with 95%, so one of the intervals of 20 classes misses
    by chance alone.

    Args:
        labels: The true classes of the photos, int64 (N,).
        original: The original's probabilities (N, C). Memory maps of any length will do: blocks of rows are read, and
            only O(N) answers and O(C) counts are kept.
        artifact: The artifact's probabilities (N, C), with the same freedom.
        label_names: The names of the C classes, in the order of the probabilities.
        original_logits: The original's logits (N, C). They are compared where both sides' logits are given.
        artifact_logits: The artifact's logits (N, C).

    Raises:
        ValueError: N is 0, shapes do not fit, labels are not in 0..C-1, numbers are not finite, or probabilities are
            more than 0.01 outside 0..1.
    """
    _check(labels, original, artifact, label_names)
    cosine = None
    if original_logits is not None and artifact_logits is not None:
        if not original.shape == original_logits.shape == artifact_logits.shape:
            raise ValueError(f"logits {original_logits.shape} and {artifact_logits.shape} do not fit {original.shape}")
        cosine = mean_cosine(original_logits, artifact_logits)
    seen = compare_probabilities(original, artifact)
    before, after = seen.original.predicted, seen.artifact.predicted
    was_right, is_right = before == labels, after == labels
    num_photos, num_classes = original.shape
    num_right_before, num_right = int(np.sum(was_right)), int(np.sum(is_right))
    num_same = int(np.sum(before == after))
    right_to_wrong, wrong_to_right = int(np.sum(was_right & ~is_right)), int(np.sum(~was_right & is_right))
    return Drift(
        num_photos=num_photos,
        original_accuracy=num_right_before / num_photos,
        original_accuracy_interval=wilson_interval(num_right_before, num_photos),
        accuracy=num_right / num_photos,
        accuracy_interval=wilson_interval(num_right, num_photos),
        accuracy_drop_points=100 * (num_right_before - num_right) / num_photos,
        accuracy_drop_points_interval=difference_interval_points(right_to_wrong, wrong_to_right, num_photos),
        mcnemar_p_value=mcnemar_p_value(right_to_wrong, wrong_to_right),
        agreement=num_same / num_photos,
        agreement_interval=wilson_interval(num_same, num_photos),
        flips=Flips(
            right_to_wrong=right_to_wrong,
            wrong_to_right=wrong_to_right,
            wrong_to_wrong=num_photos - num_same - right_to_wrong - wrong_to_right,
        ),
        original_macro_f1=macro_f1(labels, before, num_classes),
        macro_f1=macro_f1(labels, after, num_classes),
        confusions=confusions(labels, after),
        per_class=_per_class(labels, before, after, label_names),
        max_abs_probability_difference=seen.max_abs_difference,
        mean_abs_probability_difference=seen.mean_abs_difference,
        p99_abs_probability_difference=seen.p99_abs_difference,
        mean_kl_divergence_nats=seen.mean_kl_divergence_nats,
        mean_logit_cosine=cosine,
        original_expected_calibration_error=expected_calibration_error(seen.original.confidence, was_right),
        expected_calibration_error=expected_calibration_error(seen.artifact.confidence, is_right),
        original_mean_confidence=float(np.mean(seen.original.confidence)),
        mean_confidence=float(np.mean(seen.artifact.confidence)),
    )


def photo_answers(
    labels: Integers,
    original: Floats,
    artifact: Floats,
    content_sha256: Sequence[bytes],
    label_names: Sequence[str],
) -> PhotoAnswers:
    """Return on which photos an artifact is wrong, and on which it answers otherwise than the original.

    ``labels``, ``original`` and ``artifact`` are those of :func:`drift`. The photos are numbered in the order of their
    content and label, since two runs may read the photos of one test split in different orders.
    """
    after = np.argmax(artifact, axis=1)
    keys = [(content, label_names[label]) for content, label in zip(content_sha256, labels, strict=True)]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return PhotoAnswers(
        wrong=np.flatnonzero((after != labels)[order]).tolist(),
        changed=np.flatnonzero((after != np.argmax(original, axis=1))[order]).tolist(),
    )


def _check(labels: Integers, original: Floats, artifact: Floats, label_names: Sequence[str]) -> None:
    shapes = f"labels {labels.shape}, original {original.shape} and artifact {artifact.shape}"
    if original.ndim != 2 or original.shape != artifact.shape or labels.shape != original.shape[:1] or not labels.size:
        raise ValueError(f"{shapes} do not fit")
    if len(label_names) != original.shape[1]:
        raise ValueError(f"{len(label_names)} label names do not fit {original.shape[1]} classes")
    if labels.min() < 0 or labels.max() >= original.shape[1]:
        raise ValueError(f"labels {labels.min()} to {labels.max()} do not fit {original.shape[1]} classes")


def _per_class(labels: Integers, before: Integers, after: Integers, label_names: Sequence[str]) -> list[ClassDrift]:
    """Return the recall and the flips of each class, over the photos whose label it is."""
    was_right, is_right = before == labels, after == labels

    def count(photos: npt.NDArray[np.bool_]) -> Integers:
        return np.bincount(labels[photos], minlength=len(label_names))

    num_photos = np.bincount(labels, minlength=len(label_names))
    right_to_wrong, wrong_to_right = count(was_right & ~is_right), count(~was_right & is_right)
    wrong_to_wrong = count(~was_right & ~is_right & (before != after))
    lower, upper = difference_bounds(right_to_wrong, wrong_to_right, np.maximum(num_photos, 1))
    num_right_before, num_right = count(was_right), count(is_right)
    classes = []
    for index, label in enumerate(label_names):
        flips = Flips(
            right_to_wrong=int(right_to_wrong[index]),
            wrong_to_right=int(wrong_to_right[index]),
            wrong_to_wrong=int(wrong_to_wrong[index]),
        )
        size, was, now = int(num_photos[index]), int(num_right_before[index]), int(num_right[index])
        classes.append(
            ClassDrift(
                label=label,
                num_photos=size,
                original_recall=was / size if size else None,
                recall=now / size if size else None,
                recall_drop_points=100 * (was - now) / size if size else None,
                recall_drop_points_interval=Interval(low=100 * lower[index], high=100 * upper[index]) if size else None,
                flips=flips,
            )
        )
    return classes
