"""This module checks the answers of models and turns logits into probabilities. The arrays may be memory maps."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from tledge.errors import ArtifactError, EnvironmentFault
from tledge.printable import sentence
from tledge.workers.process import OutOfMemory, WorkerFailed

Floats = npt.NDArray[np.floating]
_TOLERANCE = 0.01  # about two scales of an 8-bit output, whose range need not end at 0 and 1
_BLOCK_VALUES = 1 << 18


def softmax(logits: Floats) -> npt.NDArray[np.float64]:
    """Return the probabilities (N, C) of logits (N, C). Each row is shifted by its maximum so that none overflows."""
    shifted = np.asarray(logits, np.float64) - np.max(logits, axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    return np.asarray(exponentials / np.sum(exponentials, axis=1, keepdims=True))


def num_not_finite(values: Floats) -> int:
    """Count the rows of ``values`` (N, C) that hold NaN or infinity."""
    return sum(int(np.sum(~np.all(np.isfinite(values[rows]), axis=1))) for rows in blocks(*values.shape))


def why_no_probabilities(values: Floats) -> str | None:
    """Say what keeps numbers (N, C) from being probabilities; return None where they are.

    NaN, infinity and numbers more than 0.01 outside 0..1 are no probabilities. The sum of a row is not checked:
    8-bit outputs add up to one only roughly.
    """
    for rows in blocks(*values.shape):
        low, high = float(np.min(values[rows])), float(np.max(values[rows]))
        if not (np.isfinite(low) and np.isfinite(high)):
            return "probabilities are not finite"
        if low < -_TOLERANCE or high > 1 + _TOLERANCE:
            return f"numbers from {low:.4g} to {high:.4g} are no probabilities"
    return None


def probabilities_or_fault(answers: Floats | WorkerFailed) -> Floats | WorkerFailed:
    """Return answers (N, C) where they are probabilities, and what is wrong with them where they are not."""
    if isinstance(answers, WorkerFailed):
        return answers
    if broken := num_not_finite(answers):
        return WorkerFailed(f"the output holds NaN or infinity on {broken} of {len(answers)} photos")
    problem = why_no_probabilities(answers)
    return WorkerFailed(problem) if problem else answers


def require_logits(answers: Floats | WorkerFailed, model: object) -> Floats:
    """Return the original's answers, finite logits (N, C).

    Raises EnvironmentFault where the original's process ran out of memory, and ArtifactError where it failed otherwise or
    a logit is not finite. The error names ``model``, its path.
    """
    if isinstance(answers, OutOfMemory):
        raise EnvironmentFault(
            f"{model}: too little memory for the original: {sentence(str(answers))} Free some, or take a larger machine."
        )
    # The files of a run have the hashes of its manifest. So a build on this machine would fail as well.
    remedy = "Use the machine and the libraries that built the run."
    if isinstance(answers, WorkerFailed):
        raise ArtifactError(f"{model}: the original does not run on this machine: {sentence(str(answers))} {remedy}")
    if num_not_finite(answers):
        raise ArtifactError(f"{model}: the original's output is not finite on this machine. {remedy}")
    return answers


def blocks(num_photos: int, num_classes: int) -> Iterator[slice]:
    """Yield slices of rows that hold about 260,000 numbers each, which take two megabytes in float64."""
    height = max(1, _BLOCK_VALUES // num_classes)
    for start in range(0, num_photos, height):
        yield slice(start, min(start + height, num_photos))
