"""An artifact's answers against the original's. Pure functions, no I/O."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tledge.records import Drift

Floats = npt.NDArray[np.floating]


def softmax(logits: Floats) -> npt.NDArray[np.float64]:
    """Probabilities (N, C) of logits (N, C), shifted by the row's maximum so that nothing overflows."""
    shifted = np.asarray(logits, np.float64) - np.max(logits, axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    return np.asarray(exponentials / np.sum(exponentials, axis=1, keepdims=True))


def drift(labels: npt.NDArray[np.int64], original: Floats, artifact: Floats) -> Drift:
    """Compare probabilities (N, C) of the same N photos; ``labels`` int64 (N,).

    The drop is in points: 100 * (accuracy of the original - accuracy of the artifact), positive where the
    artifact is worse. Agreement is the share of photos with the same top-1 class. Preconditions: N >= 1,
    equal shapes, finite numbers; raises ValueError otherwise.
    """
    if original.shape != artifact.shape or len(labels) != len(original) or not len(labels):
        raise ValueError(f"labels {labels.shape}, original {original.shape} and artifact {artifact.shape} do not fit")
    if not (np.all(np.isfinite(original)) and np.all(np.isfinite(artifact))):
        raise ValueError("probabilities are not finite")
    before, after = np.argmax(original, axis=1), np.argmax(artifact, axis=1)
    was_right, is_right = before == labels, after == labels
    difference = np.abs(np.asarray(original, np.float64) - np.asarray(artifact, np.float64))
    return Drift(
        num_photos=len(labels),
        accuracy=float(np.mean(is_right)),
        accuracy_drop_points=100.0 * (int(was_right.sum()) - int(is_right.sum())) / len(labels),
        agreement=float(np.mean(before == after)),
        flips_right_to_wrong=int(np.sum(was_right & ~is_right)),
        flips_wrong_to_right=int(np.sum(~was_right & is_right)),
        flips_wrong_to_wrong=int(np.sum(~was_right & ~is_right & (before != after))),
        max_abs_probability_difference=float(np.max(difference)),
        mean_abs_probability_difference=float(np.mean(difference)),
    )
