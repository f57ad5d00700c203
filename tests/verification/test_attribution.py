"""Each step of the loss is measured apart, and one that was not says why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tledge.bench.bench import Runnable
from tledge.runtimes import runtime
from tledge.verification.attribution import Loss, device_step, models, num_photos, steps

LITERT = runtime("litert")
FLOAT = Runnable("tflite-float32 on litert", Path("float.tflite"), "litert")
INT8 = Runnable("tflite-int8 on litert", Path("int8.tflite"), "litert")
LABELS = np.array([0, 1, 0, 1])


def _sure(*classes: int) -> np.ndarray:
    """Probabilities of two classes, 0.9 for the given one."""
    return np.where(np.array(classes)[:, None] == np.arange(2), 0.9, 0.1)


RIGHT = _sure(0, 1, 0, 1)
INT8_LOSS = Loss(INT8, "all-integer", LITERT, FLOAT)
FLOAT_LOSS = Loss(FLOAT, "float32", LITERT, FLOAT)


def test_a_loss_is_found_in_the_step_where_it_was_made() -> None:
    """Quantization loses one photo of four, the kernels another."""
    ran = {
        INT8: _sure(1, 0, 0, 1),
        replace(FLOAT, kernels="reference"): RIGHT,
        replace(INT8, kernels="reference"): _sure(1, 1, 0, 1),
        replace(INT8, kernels="built-in"): _sure(1, 1, 0, 1),
    }
    quantization, *kernels = steps(INT8_LOSS, LABELS, RIGHT, ran)
    assert (quantization.step, quantization.accuracy_drop_points, quantization.agreement) == ("quantization", 25, 0.75)
    assert quantization.before.startswith("tflite-float32")
    deployed, built_in = kernels
    assert (deployed.step, deployed.accuracy_drop_points) == ("kernels", 25)
    assert "XNNPACK" in deployed.after
    assert (built_in.accuracy_drop_points, built_in.agreement, built_in.mean_abs_probability_difference) == (0, 1, 0)


def test_a_float_artifact_is_compared_with_the_original_on_this_cpu() -> None:
    ran = {FLOAT: RIGHT, replace(FLOAT, kernels="reference"): _sure(0, 1, 1, 1)}
    conversion = steps(FLOAT_LOSS, LABELS, RIGHT, ran)[0]
    assert (conversion.step, conversion.accuracy_drop_points) == ("conversion", 25)
    assert conversion.mean_abs_probability_difference == pytest.approx(0.2)


def test_a_gain_is_a_negative_drop() -> None:
    assert device_step(LABELS, _sure(1, 1, 0, 1), RIGHT).accuracy_drop_points == -25


def test_without_a_float_artifact_quantization_is_not_measured_and_says_how_to() -> None:
    quantization = steps(replace(INT8_LOSS, float_model=None), LABELS, RIGHT, {})[0]
    assert (quantization.accuracy_drop_points, quantization.num_photos) == (None, 0)
    assert "export it, or name it with --format" in quantization.note


def test_kernels_that_did_not_run_are_named_as_not_measured() -> None:
    made = steps(INT8_LOSS, LABELS, RIGHT, {INT8: RIGHT})
    assert [step.note.partition(":")[0] for step in made] == ["not measured"] * 3


def test_a_runtime_with_one_set_of_kernels_is_its_own_reference() -> None:
    """No step between kernels is made up, and none is said not to have run."""
    one = replace(LITERT, kernels=("only",))
    ran = {FLOAT: RIGHT, INT8: _sure(1, 1, 0, 1)}
    assert models([replace(INT8_LOSS, runtime=one)]) == []
    (quantization,) = steps(replace(INT8_LOSS, runtime=one), LABELS, RIGHT, ran)
    assert (quantization.accuracy_drop_points, quantization.note) == (25, "")
    (conversion,) = steps(replace(FLOAT_LOSS, runtime=one), LABELS, RIGHT, ran)
    assert (conversion.accuracy_drop_points, conversion.note) == (0, "")


def test_every_set_of_kernels_but_the_deployed_one_is_run_and_the_slowest_first() -> None:
    wanted = models([FLOAT_LOSS, INT8_LOSS])
    assert [model.kernels for model in wanted] == ["reference"] * 2 + ["built-in"] * 2


@pytest.mark.parametrize(
    ("macs", "expected"), [([300_000_000, 1], 66), ([1], 500), ([10**12], 16), ([1, None], 16), ([], 500)]
)
def test_a_larger_network_is_given_fewer_photos(macs: list[int | None], expected: int) -> None:
    assert num_photos(macs, 539) == expected
    assert num_photos(macs, 10) == 10
