"""This module finds where accuracy was lost: it measures each step from the original to an artifact on its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from tledge.bench.bench import Runnable
from tledge.records import AttributionStep, Promise
from tledge.runtimes import Runtime

Floats = npt.NDArray[np.floating]
Labels = npt.NDArray[np.int64]
StepName = Literal["device", "conversion", "quantization", "kernels"]
ORIGINAL = "the original on this CPU"
NO_FLOAT = "no float32 artifact of this family was verified: export it, or name it with --format"
_MACS = 2e10  # the MACs that one artifact may cost on reference kernels, which are plain loops
_MIN_PHOTOS, _MAX_PHOTOS = 16, 500


@dataclass(frozen=True)
class Loss:
    """A loss names an artifact whose loss is measured step by step.

    ``float_model`` is the float32 artifact of its family, or None where there is none.
    """

    model: Runnable
    promise: Promise
    runtime: Runtime
    float_model: Runnable | None


def num_photos(macs: Sequence[int | None], available: int) -> int:
    """Return how many photos the reference kernels are given: from 16 to 500, and at most ``available``.

    ``macs`` has one count for each artifact. The largest network decides; where a size is unknown (None), it is 16.
    """
    fitting = [_MIN_PHOTOS if count is None else int(_MACS / max(1, count)) for count in macs]
    return min(available, max(_MIN_PHOTOS, min(fitting, default=_MAX_PHOTOS)), _MAX_PHOTOS)


def models(losses: Sequence[Loss]) -> list[Runnable]:
    """List every artifact on every set of kernels but the deployed one.

    The reference kernels come first, because they are the slowest.
    """
    ranked = [
        (rank, replace(loss.model, kernels=kernels))
        for loss in losses
        for rank, kernels in enumerate(loss.runtime.kernels[1:])
    ]
    return [model for _, model in sorted(ranked, key=lambda pair: -pair[0])]


def steps(loss: Loss, labels: Labels, original: Floats, ran: Mapping[Runnable, Floats]) -> list[AttributionStep]:
    """Measure the steps from the original to one artifact, on the same photos.

    ``original`` has the original's probabilities (N, C) on this CPU, and ``ran`` has the probabilities of every model
    that ran. Where one side of a step did not run, the step says so. A runtime with one set of kernels has no step
    between kernels.
    """
    name, kernels = loss.model.name, loss.runtime.kernels
    made: list[AttributionStep] = []

    def on(model: Runnable, chosen: str) -> Floats | None:
        return ran.get(model if chosen == kernels[0] else replace(model, kernels=chosen))

    def add(step: StepName, before: str, after: str, left: Floats | None, right: Floats | None, missing: str) -> None:
        made.append(_step(name, step, before, after, labels, left, right, missing))

    what, on_reference = f"{name}, {kernels[-1]} kernels", on(loss.model, kernels[-1])
    if loss.promise == "float32":
        add("conversion", ORIGINAL, what, original, on_reference, "the artifact did not run on these kernels")
    elif loss.float_model is None:
        add("quantization", "the float32 artifact", what, None, None, NO_FLOAT)
    else:
        before, left = f"{loss.float_model.name}, {kernels[-1]} kernels", on(loss.float_model, kernels[-1])
        add("quantization", before, what, left, on_reference, "one of the two did not run on these kernels")
    for chosen in kernels[:-1]:
        add(
            "kernels",
            what,
            f"{name}, {chosen} kernels",
            on_reference,
            on(loss.model, chosen),
            "one of the two did not run",
        )
    return made


def device_step(labels: Labels, reference: Floats, original: Floats) -> AttributionStep:
    """Measure what the change from the training device to this CPU cost, on all test photos.

    ``reference`` and ``original`` are the original's probabilities (N, C) on the training device and on this CPU.
    """
    return _step("all", "device", "the original on the training device", ORIGINAL, labels, reference, original, "")


def _step(
    artifact: str,
    step: StepName,
    before: str,
    after: str,
    labels: Labels,
    left: Floats | None,
    right: Floats | None,
    missing: str,
) -> AttributionStep:
    if left is None or right is None:
        return AttributionStep(
            artifact=artifact,
            step=step,
            before=before,
            after=after,
            num_photos=0,
            accuracy_drop_points=None,
            agreement=None,
            mean_abs_probability_difference=None,
            note=f"not measured: {missing}",
        )
    was, now = np.argmax(left, axis=1), np.argmax(right, axis=1)
    return AttributionStep(
        artifact=artifact,
        step=step,
        before=before,
        after=after,
        num_photos=len(labels),
        accuracy_drop_points=100.0 * float(np.mean(was == labels) - np.mean(now == labels)),
        agreement=float(np.mean(was == now)),
        mean_abs_probability_difference=float(np.mean(np.abs(np.asarray(left, np.float64) - right))),
        note="",
    )
