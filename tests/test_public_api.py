"""Each public name of the package does its work, in a line or two."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tledge
from tledge import Options, Progress, Recipe, Report, Run, Wanted
from tledge.errors import EnvironmentFault, InputError
from tledge.progress import Advance
from tledge.progress_by_default import NotebookProgress, TledgeWarning


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


@pytest.mark.long
def test_a_recipe_says_how_a_run_is_trained_and_a_progress_hears_it(tmp_path: Path) -> None:
    recipe, progress = Recipe(name="short", method="whole", batch_norm="trained", max_epochs=1), Steps()
    heard: Progress = progress
    run = tledge.build("digits", backbone="lenet", recipe=recipe, artifacts=tmp_path, progress=heard)
    assert isinstance(run, Run)
    assert run.manifest.recipe["max_epochs"] == 1
    assert "reading digits" in progress.steps


SESSION = """
import os, random, sys
import numpy as np
import tledge

before = dict(os.environ), list(sys.path), os.getcwd()
random.seed(7)
np.random.seed(7)
expected = random.random(), np.random.random()
drawn = []
for number in range(2):
    random.seed(7)
    np.random.seed(7)
    recipe = tledge.Recipe(name="short", method="whole", batch_norm="trained", max_epochs=1)
    tledge.build("digits", backbone="lenet", recipe=recipe, run=f"run{number}", artifacts=sys.argv[1])
    drawn.append((random.random(), np.random.random()))
assert drawn == [expected] * 2, drawn
assert before == (dict(os.environ), list(sys.path), os.getcwd())
assert not {"tensorflow", "tf_keras", "keras"} & set(sys.modules)
"""


def test_a_session_is_after_a_call_as_it_was_before(tmp_path: Path) -> None:
    """The script has no ``__main__`` guard."""
    ended = subprocess.run(
        [sys.executable, "-c", SESSION, tmp_path / "artifacts"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert sorted(path.name for path in (tmp_path / "artifacts").glob("run*")) == ["run0", "run1"]


def _stage_process() -> int:
    """The process in which a stage runs that this process called."""
    (found,) = subprocess.run(
        ["pgrep", "-P", str(os.getpid()), "-f", "tledge.stage_worker"], capture_output=True, text=True, check=True
    ).stdout.split()
    return int(found)


class Interrupted(Steps):
    """Does something in the middle of the training."""

    def __init__(self, what: Callable[[], object]) -> None:
        super().__init__()
        self._what = what

    @contextlib.contextmanager
    def step(self, description: str, total: int | None = None) -> Iterator[Advance]:
        self.steps.append(description)
        if description.startswith("epoch") or "training" in description:
            self._what()
        yield lambda units: None


def _ctrl_c() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("what", "error"),
    [(_ctrl_c, KeyboardInterrupt), (lambda: os.kill(_stage_process(), signal.SIGKILL), EnvironmentFault)],
    ids=["Ctrl-C", "killed"],
)
def test_a_call_that_is_stopped_ends_its_process_and_keeps_no_run(
    what: Callable[[], object], error: type[BaseException], tmp_path: Path
) -> None:
    with pytest.raises(error):
        tledge.build("digits", backbone="lenet", artifacts=tmp_path / "artifacts", progress=Interrupted(what))
    with pytest.raises(subprocess.CalledProcessError):
        _stage_process()
    assert not list((tmp_path / "artifacts").glob("[!.]*"))


@pytest.mark.long
def test_an_error_of_the_progress_reaches_the_caller_where_ctrl_c_is_ignored(tmp_path: Path) -> None:
    """As in a script that a shell without job control put into the background."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(ZeroDivisionError):
            tledge.build("digits", backbone="lenet", artifacts=tmp_path, progress=Interrupted(lambda: 1 // 0))
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"dataset": 3}, "dataset=3: give a name or a path"),
        ({"dataset": ""}, "dataset='': give a name or a path"),
        ({"recipe": "fintune"}, "unknown recipe 'fintune'. Did you mean 'finetune'"),
        ({"recipe": 1}, "recipe=1: give tledge.Recipe"),
        ({"seed": True}, "seed=True: give a whole number"),
        ({"seed": "1"}, "seed='1': give a whole number"),
        ({"input_size": 32.0}, "input_size=32.0: give a whole number"),
        ({"run": Path("a")}, "run=.*: give a name as text"),
        ({"resume": 1}, "resume=1: give True or False"),
        ({"pixel_range": [0, 4095, 1]}, "pixel_range=.*: give the values of black and white"),
        ({"resize": 3}, "resize=3: give a text such as 'crop:256,bicubic'"),
        ({"resize": "crob:9"}, "Did you mean 'crop:N'"),
        ({"artifacts": 5}, "artifacts=5: give a name or a path"),
        ({"progress": print}, "progress=.*: give an object with the methods step, say and warn"),
    ],
)
def test_an_argument_of_build_that_cannot_be_used_is_named(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        tledge.build(**{"dataset": "digits", "backbone": "lenet", **arguments})


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda run: tledge.export(run, 3), "format_names=3: give one name as text, or several"),
        (lambda run: tledge.export(run, [3]), "format_names=3: give a name as text"),
        (lambda run: tledge.export(run, "tflite-int9"), "Did you mean 'tflite-int8'"),
        (lambda run: tledge.export(run, "tflite-int8", options={}), r"options=\{\}: give tledge.Options"),
        (lambda run: tledge.export(run, "tflite-int8", batch=2), "batch"),
        (lambda run: tledge.export(run, "tflite-int8", jobs=1.5), "jobs=1.5: give a whole number"),
        (lambda run: tledge.export(run, "tflite-int8", max_drop_points="1"), "max_drop_points='1': give a number"),
        (lambda run: tledge.export(b"lenet", "tflite-int8"), "run=b'lenet': give a run, or its name"),
        (lambda run: tledge.verify(run, target=1), "target=1: give a name or a path"),
        (lambda run: tledge.verify(run, wanted={"certify": True}), "wanted=.*: give tledge.Wanted"),
        (
            lambda run: tledge.verify(run, wanted=Wanted(limits={"max_accuracy_drop": 1})),
            "unknown limit 'max_accuracy_drop'. Did you mean 'max_accuracy_drop_points'",
        ),
    ],
)
def test_an_argument_of_export_and_verify_that_cannot_be_used_is_named(
    call: Callable[[Run], object], said: str, lenet_copy: Run
) -> None:
    with pytest.raises(InputError, match=said):
        call(lenet_copy)


def test_a_notebook_shows_each_step_on_a_line_that_counts(capsys: pytest.CaptureFixture[str]) -> None:
    progress = NotebookProgress()
    with progress.step("reading photos", total=2000) as advance:
        advance(1)
        time.sleep(0.25)
        advance(1500)
    with pytest.raises(ZeroDivisionError), progress.step("dividing"):
        _ = 1 / 0
    progress.say("device: CPU")
    lines = [line.split("\r") for line in capsys.readouterr().out.splitlines()]
    shown = [text.strip() for line in lines for text in line if text.strip()]
    assert shown[:2] == ["reading photos ...", "reading photos: 1,501 of 2,000"]
    assert shown[2].startswith("reading photos: 0.")
    assert shown[3:] == ["dividing ...", "dividing: stopped", "device: CPU"]


@pytest.mark.long
def test_options_say_how_an_integer_format_is_made(lenet_copy: Run) -> None:
    (record,) = tledge.export(lenet_copy, ["tflite-int8"], options=Options(calibration_samples=20))
    assert record.calibration is not None
    assert record.calibration.num_samples == 20


@pytest.mark.long
def test_what_is_wanted_of_a_verification_is_in_its_report(lenet_copy: Run) -> None:
    tledge.export(lenet_copy, ["tflite-float32"])
    wanted = Wanted(accuracy_only=True, limits={"max_accuracy_drop_points": 2.0})
    with pytest.warns(TledgeWarning, match="limits are guesses") as warned:
        report = tledge.verify(lenet_copy, wanted=wanted)
    assert {warning.filename for warning in warned} == {__file__}, "a warning names the line that called tledge"
    assert isinstance(report, Report)
    assert report.verdict in ("certified", "passed")
    assert report.target.budget.max_accuracy_drop_points == 2.0


@pytest.mark.long
def test_a_run_is_opened_by_its_name_in_every_stage(lenet_copy: Run) -> None:
    (record,) = tledge.export(lenet_copy.name, "tflite-float32", artifacts=str(lenet_copy.folder.parent))
    assert lenet_copy.export_names() == [record.format]


@pytest.mark.parametrize("name", [name for name in tledge.__all__ if not name.startswith("_")])
def test_a_public_name_is_what_its_module_calls_so(name: str) -> None:
    assert getattr(tledge, name).__name__ == name


def test_a_value_that_cannot_be_is_an_error_that_names_the_option() -> None:
    with pytest.raises(InputError, match="--calibration-samples 0"):
        Options(calibration_samples=0)
