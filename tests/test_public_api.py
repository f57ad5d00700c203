"""Each public name of the package does its work, in a line or two."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import tledge
from tledge import Options, Progress, Recipe, Report, Run, Wanted
from tledge.errors import InputError
from tledge.progress import Advance


class Steps:
    """Keeps the descriptions of the steps."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    @contextlib.contextmanager
    def step(self, description: str, total: int | None = None) -> Iterator[Advance]:
        self.steps.append(description)
        yield lambda units: None

    def say(self, message: str) -> None: ...

    def warn(self, message: str) -> None: ...


def test_a_recipe_says_how_a_run_is_trained_and_a_progress_hears_it(tmp_path: Path) -> None:
    recipe, progress = Recipe(name="short", method="whole", batch_norm="trained", max_epochs=1), Steps()
    heard: Progress = progress
    run = tledge.build("digits", backbone="lenet", recipe=recipe, artifacts=tmp_path, progress=heard)
    assert isinstance(run, Run)
    assert run.manifest.recipe["max_epochs"] == 1
    assert "reading digits" in progress.steps


def test_options_say_how_an_integer_format_is_made(lenet_copy: Run) -> None:
    (record,) = tledge.export(lenet_copy, ["tflite-int8"], options=Options(calibration_samples=20))
    assert record.calibration is not None
    assert record.calibration.num_samples == 20


def test_what_is_wanted_of_a_verification_is_in_its_report(lenet_copy: Run) -> None:
    tledge.export(lenet_copy, ["tflite-float32"])
    report = tledge.verify(lenet_copy, wanted=Wanted(accuracy_only=True, limits={"max_accuracy_drop_points": 2.0}))
    assert isinstance(report, Report)
    assert report.verdict in ("certified", "passed")
    assert report.target.budget.max_accuracy_drop_points == 2.0


def test_a_run_is_opened_by_its_name_in_every_stage(lenet_copy: Run) -> None:
    (record,) = tledge.export(lenet_copy.name, ["tflite-float32"], artifacts=lenet_copy.folder.parent)
    assert lenet_copy.export_names() == [record.format]


@pytest.mark.parametrize("name", [name for name in tledge.__all__ if not name.startswith("_")])
def test_a_public_name_is_what_its_module_calls_so(name: str) -> None:
    assert getattr(tledge, name).__name__ == name


def test_a_value_that_cannot_be_is_an_error_that_names_the_option() -> None:
    with pytest.raises(InputError, match="--calibration-samples 0"):
        Options(calibration_samples=0)
