"""Each step of the loss is measured apart, and one that was not says why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tledge.runtimes import runtime
from tledge.verification.attribution import Subject, device_step, num_photos, steps, tasks
from tledge.verification.measure import Task

LITERT = runtime("litert")
FLOAT = Task("tflite-float32 on litert", Path("float.tflite"), "litert")
INT8 = Task("tflite-int8 on litert", Path("int8.tflite"), "litert")
LABELS = np.array([0, 1, 0, 1])


def _sure(*classes: int) -> np.ndarray:
    """Probabilities of two classes, 0.9 for the given one."""
    return np.where(np.array(classes)[:, None] == np.arange(2), 0.9, 0.1)


RIGHT = _sure(0, 1, 0, 1)
INT8_SUBJECT = Subject(INT8, "all-integer", LITERT, FLOAT)
FLOAT_SUBJECT = Subject(FLOAT, "float32", LITERT, FLOAT)


def test_a_loss_is_found_in_the_step_where_it_was_made() -> None:
    """Quantization loses one photo of four, the kernels another."""
    on_kernels = {
        replace(FLOAT, kernels="reference"): RIGHT,
        replace(INT8, kernels="reference"): _sure(1, 1, 0, 1),
        replace(INT8, kernels="built-in"): _sure(1, 1, 0, 1),
    }
    quantization, *kernels = steps(INT8_SUBJECT, LABELS, RIGHT, {INT8: _sure(1, 0, 0, 1)}, on_kernels)
    assert (quantization.step, quantization.accuracy_drop_points, quantization.agreement) == ("quantization", 25, 0.75)
    assert quantization.before.startswith("tflite-float32")
    deployed, built_in = kernels
    assert (deployed.step, deployed.accuracy_drop_points) == ("kernels", 25)
    assert "XNNPACK" in deployed.after
    assert (built_in.accuracy_drop_points, built_in.agreement, built_in.mean_abs_probability_difference) == (0, 1, 0)


def test_a_float_artifact_is_compared_with_the_original_on_this_cpu() -> None:
    on_kernels = {replace(FLOAT, kernels="reference"): _sure(0, 1, 1, 1)}
    conversion = steps(FLOAT_SUBJECT, LABELS, RIGHT, {FLOAT: RIGHT}, on_kernels)[0]
    assert (conversion.step, conversion.accuracy_drop_points) == ("conversion", 25)
    assert conversion.mean_abs_probability_difference == pytest.approx(0.2)


def test_a_gain_is_a_negative_drop() -> None:
    assert device_step(LABELS, _sure(1, 1, 0, 1), RIGHT).accuracy_drop_points == -25


def test_without_a_float_artifact_quantization_is_not_measured_and_says_how_to() -> None:
    quantization = steps(replace(INT8_SUBJECT, float_task=None), LABELS, RIGHT, {}, {})[0]
    assert (quantization.accuracy_drop_points, quantization.num_photos) == (None, 0)
    assert "export it, or name it with --format" in quantization.note


def test_kernels_that_did_not_run_are_named_as_not_measured() -> None:
    made = steps(INT8_SUBJECT, LABELS, RIGHT, {INT8: RIGHT}, {})
    assert [step.note.partition(":")[0] for step in made] == ["not measured"] * 3


def test_every_set_of_kernels_but_the_deployed_one_is_run_and_the_slowest_first() -> None:
    wanted = tasks([FLOAT_SUBJECT, INT8_SUBJECT])
    assert [task.kernels for task in wanted] == ["reference"] * 2 + ["built-in"] * 2


@pytest.mark.parametrize(
    ("macs", "expected"), [([300_000_000, 1], 66), ([1], 500), ([10**12], 16), ([1, None], 16), ([], 500)]
)
def test_a_larger_network_is_given_fewer_photos(macs: list[int | None], expected: int) -> None:
    assert num_photos(macs, 539) == expected
    assert num_photos(macs, 10) == 10
