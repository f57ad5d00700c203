"""What every command prints, and what it does not need for that."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer.main
from heavy_imports import HEAVY

from tledge import __version__
from tledge.cli.main import app
from tledge.records import Report
from tledge.run import Run
from tledge.verification import targets

Command = Callable[..., Any]
COMMANDS = tuple(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
SLOW = HEAVY | {"numpy", "PIL", "scipy"}  # for a help text, these are too


@pytest.mark.parametrize("arguments", [[], *([command] for command in COMMANDS)], ids=str)
def test_help_answers_without_a_heavy_import(arguments: list[str]) -> None:
    # The help of export has a line from the file of each format, and these files import NumPy.
    slow = HEAVY if arguments == ["export"] else SLOW
    program = (
        "import sys\nfrom tledge.cli.main import app\n"
        f"try:\n    app({[*arguments, '--help']!r}, prog_name='tledge')\nexcept SystemExit as stop:\n    assert not stop.code\n"
        f"print('IMPORTED', sorted({slow!r} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert "IMPORTED []" in ended.stdout
    assert f"Usage: tledge {' '.join(arguments)}".rstrip() in ended.stdout
    for command in COMMANDS if not arguments else ():
        assert command in ended.stdout


def test_python_m_tledge_is_the_command() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "tledge", "--version"], capture_output=True, text=True, check=True, timeout=60
    )
    assert ended.stdout == f"tledge {__version__}\n"
    assert ended.stderr == ""


def test_version_is_the_packages(tledge: Command) -> None:
    outcome = tledge("--version")
    assert (outcome.code, outcome.out) == (0, f"tledge {__version__}\n")


def test_no_arguments_show_the_help(tledge: Command) -> None:
    outcome = tledge()
    assert "Usage: tledge" in outcome.out
    assert outcome.code == 2


def test_the_default_backbone_in_the_help_is_the_one_of_the_library() -> None:
    import inspect

    from tledge.backbones import DEFAULT
    from tledge.cli.build import build

    assert inspect.signature(build).parameters["backbone"].default == DEFAULT


def test_runs_lists_a_run_with_its_artifacts(tledge: Command, exported: tuple[Run, Any]) -> None:
    outcome = tledge("runs", "--artifacts", exported[0].folder.parent)
    assert outcome.code == 0
    assert "digits (latest)" in outcome.out
    assert "whole" in outcome.out
    assert "tflite-int8" in outcome.out


def test_runs_shows_what_is_wrong_with_a_damaged_one_and_still_lists_the_rest(tledge: Command, run_copy: Run) -> None:
    root = run_copy.folder.parent
    shutil.copytree(run_copy.folder, root / "torn")
    (root / "torn" / "splits.csv").write_text("cut")
    outcome = tledge("runs", "--json", "--artifacts", root)
    assert outcome.code == 0
    listed = {entry["name"]: entry for entry in json.loads(outcome.out)["runs"]}
    assert listed["digits"]["problem"] is None
    assert listed["digits"]["is_latest"] is True
    assert listed["digits"]["test_accuracy"] == run_copy.manifest.metrics["test"].accuracy
    assert "splits.csv: changed or cut short" in listed["torn"]["problem"]
    assert listed["torn"]["is_latest"] is False
    table = " ".join(tledge("runs", "--artifacts", root).out.split())  # cells of the table are folded
    assert "Build the run again with tledge build" in table


def test_runs_of_a_damaged_manifest_names_it(tledge: Command, run_copy: Run) -> None:
    (run_copy.folder / "manifest.json").write_text("{")
    (entry,) = json.loads(tledge("runs", "--json", "--artifacts", run_copy.folder.parent).out)["runs"]
    assert "manifest.json: not a whole JSON record" in entry["problem"]
    assert entry["test_accuracy"] is None


@pytest.mark.parametrize("folder", ["empty", "none"])
def test_runs_of_an_empty_folder_says_so(tledge: Command, tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    outcome = tledge("runs", "--artifacts", tmp_path / folder)
    assert (outcome.code, outcome.out) == (0, f"no runs in {tmp_path / folder}\n")
    assert json.loads(tledge("runs", "--json", "--artifacts", tmp_path / folder).out) == {"runs": []}


def test_the_folder_of_the_runs_can_be_named_by_a_variable(
    tledge: Command, built: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TLEDGE_ARTIFACTS", str(built.folder.parent))
    assert "digits" in tledge("runs").out


def test_targets_lists_every_target_and_marks_guesses(tledge: Command) -> None:
    outcome = tledge("targets")
    assert outcome.code == 0
    for name in targets.names():
        assert name in outcome.out
        assert ("guess" in next(line for line in outcome.out.splitlines() if line.lstrip().startswith(f"{name} "))) == (
            "guess" in targets.load(name).basis.as_json().values()
        )


def test_targets_as_json_are_the_files(tledge: Command) -> None:
    listed = json.loads(tledge("targets", "--json").out)["targets"]
    assert listed == {name: targets.load(name).as_json() for name in targets.names()}
    assert {"cpu", "cpu-single-core", "raspberry-pi-4", "raspberry-pi-5"} <= set(listed)


def test_build_export_and_verify_print_one_json_object_each_and_nothing_else(
    tledge: Command, tiny_backbone: Path, photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    common = ["--json", "--artifacts", tmp_path / "artifacts"]
    made = tledge(
        "build", "--dataset", photo_folder({"cat": 40, "dog": 40}), "--backbone", tiny_backbone, "--run", "pets",
        "--max-epochs", "2", *common,
    )  # fmt: skip
    assert made.code == 0, made.err
    built = json.loads(made.out)
    assert (built["run"], built["folder"]) == ("pets", str(tmp_path / "artifacts" / "pets"))
    assert built["manifest"]["num_epochs"] == 2
    assert made.err.splitlines() == [f"warning: {doubt}" for doubt in built["warnings"]]

    converted = tledge("export", "--format", "tflite-float32", "--format", "tflite-float32", *common)
    assert converted.code == 0, converted.err
    (export,) = json.loads(converted.out)["exports"]
    assert export["format"] == "tflite-float32"
    assert converted.err == ""

    verified = tledge("verify", "--protocol", "quick", *common)
    report = json.loads(verified.out)
    assert verified.code == (1 if report["verdict"] == "failed" else 0)
    assert [row["format"] for row in report["rows"]] == ["tflite-float32"]


def test_a_command_without_json_prints_its_steps_to_stderr_and_its_result_to_stdout(
    tledge: Command, tiny_backbone: Path, photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    outcome = tledge(
        "build", "--dataset", photo_folder({"cat": 40, "dog": 40}), "--backbone", tiny_backbone, "--run", "pets",
        "--max-epochs", "1", "--artifacts", tmp_path / "artifacts",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("run pets: test accuracy ")
    assert len(outcome.out.splitlines()) == 1
    assert "training the head ..." in outcome.err
    assert "device: " in outcome.err


REPORTS = ["junit.xml", "report.html", "report.json", "report.md"]


def test_verify_says_that_limits_are_guesses_once_and_writes_every_report(tledge: Command, run_copy: Run) -> None:
    outcome = tledge("verify", "--accuracy-only", "--format", "onnx-float32", "--artifacts", run_copy.folder.parent)
    assert outcome.code == 0, outcome.err
    assert (outcome.out + outcome.err).count("these limits are guesses") == 1
    assert sorted(path.name for path in run_copy.reports().iterdir()) == REPORTS


def test_verify_in_python_writes_what_the_command_writes(run_copy: Run) -> None:
    from tledge.stages import verify
    from tledge.verification.measurement import Wanted

    found = verify("digits", wanted=Wanted(accuracy_only=True), format_names=["onnx-float32"],
                   artifacts=run_copy.folder.parent)  # fmt: skip
    assert sorted(path.name for path in run_copy.reports().iterdir()) == REPORTS
    assert Report.load(run_copy.reports() / "report.json", "") == found


def _a_file(folder: Path) -> None:
    folder.write_text("")


def _a_link_to_nowhere(folder: Path) -> None:
    folder.symlink_to(folder.with_name("nowhere"))


def _a_folder_for_a_file(folder: Path) -> None:
    (folder / "report.html").mkdir(parents=True)


@pytest.mark.parametrize("put", [_a_file, _a_link_to_nowhere, _a_folder_for_a_file])
def test_what_stands_in_the_place_of_the_reports_is_named_before_anything_is_measured(
    tledge: Command, run_copy: Run, put: Callable[[Path], None]
) -> None:
    put(run_copy.reports())
    outcome = tledge("verify", "--artifacts", run_copy.folder.parent)
    assert outcome.code == 3
    assert f"{run_copy.reports()}" in outcome.err
    assert "Move it away" in outcome.err
    assert "answers to every test photo" not in outcome.err
