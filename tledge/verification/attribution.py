"""Where it was lost: each step from the original to an artifact, measured apart from the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from tledge.records import AttributionStep, Promise
from tledge.runtimes import Runtime
from tledge.verification.measure import Task

Floats = npt.NDArray[np.floating]
Labels = npt.NDArray[np.int64]
StepName = Literal["device", "conversion", "quantization", "kernels"]
ORIGINAL = "the original on this CPU"
NO_FLOAT = "no float32 artifact of this family was verified: export it, or name it with --format"
_MACS = 2e10  # multiply-accumulates that one artifact may cost on reference kernels, which are plain loops
_MIN_PHOTOS, _MAX_PHOTOS = 16, 500


@dataclass(frozen=True)
class Subject:
    """An artifact whose loss is taken apart. ``float_task``: the float32 artifact of its family, None where there is none."""

    task: Task
    promise: Promise
    runtime: Runtime
    float_task: Task | None


def num_photos(macs: Sequence[int | None], available: int) -> int:
    """How many photos the reference kernels are given: fewer for a larger network, or one of unknown size (None)."""
    fitting = [_MIN_PHOTOS if count is None else int(_MACS / max(1, count)) for count in macs]
    return min(available, max(_MIN_PHOTOS, min(fitting, default=_MAX_PHOTOS)), _MAX_PHOTOS)


def tasks(subjects: Sequence[Subject]) -> list[Task]:
    """Every artifact on every set of kernels that is not the deployed one; the reference kernels, the slowest, first."""
    ranked = [
        (rank, replace(subject.task, kernels=kernels))
        for subject in subjects
        for rank, kernels in enumerate(subject.runtime.kernels[1:])
    ]
    return [task for _, task in sorted(ranked, key=lambda pair: -pair[0])]


def steps(
    subject: Subject,
    labels: Labels,
    original: Floats,
    deployed: Mapping[Task, Floats],
    on_kernels: Mapping[Task, Floats],
) -> list[AttributionStep]:
    """The steps from the original to one artifact, on the same photos.

    ``original``: probabilities (N, C) of the original on this CPU; ``deployed`` and ``on_kernels``: those of every task
    that ran, on the deployed kernels and on the others. A step whose other side did not run says so.
    """
    name = subject.task.name
    reference = replace(subject.task, kernels=subject.runtime.kernels[-1])
    on_reference = on_kernels.get(reference)
    made: list[AttributionStep] = []

    def add(step: StepName, before: str, after: str, left: Floats | None, right: Floats | None, missing: str) -> None:
        made.append(_step(name, step, before, after, labels, left, right, missing))

    what = f"{name}, {reference.kernels} kernels"
    if subject.promise == "float32":
        add("conversion", ORIGINAL, what, original, on_reference, "the artifact did not run on these kernels")
    elif subject.float_task is None:
        add(
            "quantization",
            "the float32 artifact",
            what,
            None,
            None,
            NO_FLOAT,
        )
    else:
        float_reference = replace(subject.float_task, kernels=reference.kernels)
        before = f"{subject.float_task.name}, {reference.kernels} kernels"
        left = on_kernels.get(float_reference)
        add("quantization", before, what, left, on_reference, "one of the two did not run on these kernels")
    for kernels in subject.runtime.kernels[:-1]:
        first = kernels == subject.runtime.kernels[0]
        after = deployed.get(subject.task) if first else on_kernels.get(replace(subject.task, kernels=kernels))
        add("kernels", what, f"{name}, {kernels} kernels", on_reference, after, "one of the two did not run")
    return made


def device_step(labels: Labels, reference: Floats, original: Floats) -> AttributionStep:
    """What the change from the training device to this CPU cost, on all test photos; probabilities (N, C)."""
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
