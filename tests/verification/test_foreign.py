"""Files that other tools made of a run's network are judged beside its own artifacts; faults planted in them are named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tledge.records import Report, Row
from tledge.run import Run, open_run
from tledge.verification.measurement import Wanted
from tledge.verification.verify import verify_artifacts

from .foreign_files import COLOURS, ORDER, make

ACCURACY = Wanted(accuracy_only=True)
SIGNED, FRACTIONS, IMAGENET = "RGB, 28 x 28, x/127.5 - 1", "RGB, 28 x 28, x/255", "(x/255 - mean)/std of ImageNet"
FAITHFUL = {
    "float.tflite": ("float32 NHWC", FRACTIONS),
    "signed.tflite": ("float32 NHWC", SIGNED),
    "bgr.tflite": ("float32 NHWC BGR", "x/255"),
    "nchw.onnx": ("float32 NCHW RGB", IMAGENET),
}
QUANTIZED = {
    "dynamic.tflite": ("float32 NHWC", SIGNED),
    "float16.tflite": ("float32 NHWC", FRACTIONS),
    "int8-in.tflite": ("int8 (scale 0.003", FRACTIONS),
    "uint8-in.tflite": ("uint8 (scale 0.007", SIGNED),
    "float-in.tflite": ("float32 NHWC", FRACTIONS),
    "qdq.onnx": ("float32 NCHW RGB", IMAGENET),
}
FAULTY = ["order.tflite", "wrong-mean.tflite", "int8-in-name-only.tflite", "noise.tflite"]
Command = Callable[..., Any]


pytestmark = pytest.mark.long  # minutes in all


@pytest.fixture(scope="session")
def colours(once: Callable[..., Path]) -> tuple[Run, Path]:
    """The run, and the folder of the files. Read only."""
    folder = once("foreign-colours", make)
    return open_run(folder / "artifacts", "colours"), folder / "files"


@pytest.fixture(scope="session")
def report(colours: tuple[Run, Path]) -> Report:
    run, files = colours
    names = [*FAITHFUL, *QUANTIZED, *FAULTY]
    return verify_artifacts(run, files=[files / name for name in names], wanted=ACCURACY)


def _row(report: Report, name: str) -> Row:
    (row,) = [row for row in report.rows if row.format == name]
    return row


def _reason(row: Row, gate: str) -> str:
    (check,) = [check for check in row.checks if check.name == gate]
    assert check.verdict == "failed"
    return check.reason


@pytest.mark.parametrize("name", FAITHFUL)
def test_a_faithful_float_file_agrees_on_every_photo_however_it_takes_them(report: Report, name: str) -> None:
    row = _row(report, name)
    assert row.drift is not None
    assert row.foreign is not None
    assert row.drift.agreement == 1.0
    assert row.drift.max_abs_probability_difference < 1e-3
    assert all(part in row.foreign.input for part in FAITHFUL[name])
    assert row.foreign.output.startswith("logits" if name == "nchw.onnx" else "probabilities")
    assert row.verdict != "failed"


@pytest.mark.parametrize("name", QUANTIZED)
def test_the_plain_converters_files_are_judged_by_what_they_take_and_hold(report: Report, name: str) -> None:
    row = _row(report, name)
    assert row.drift is not None
    assert row.foreign is not None
    assert row.audit is not None
    assert row.drift.agreement > 0.95
    assert all(part in row.foreign.input for part in QUANTIZED[name])
    assert row.size_bytes > 1000
    assert len(row.sha256) == 64
    kinds = {"dynamic.tflite": "hybrid", "float16.tflite": "float"}
    assert row.audit.names_of(kinds.get(name, "integer"))


def test_trial_photos_are_outside_the_test_split_and_at_most_300(report: Report) -> None:
    counts = {row.foreign.num_trial_photos for row in report.rows if row.foreign}
    assert counts == {300}
    assert report.num_test_photos + 300 <= 120 * len(COLOURS)


def test_another_order_of_the_classes_is_named(report: Report) -> None:
    reason = _reason(_row(report, "order.tflite"), "contract")
    names = list(COLOURS)
    assert f"its classes stand in another order: output 0 answers {names[ORDER[0]]}" in reason


def test_a_wrong_mean_inside_a_file_fails_the_accuracy_gate(report: Report) -> None:
    assert "over the budget" in _reason(_row(report, "wrong-mean.tflite"), "max_accuracy_drop_points")


def test_float_operators_in_a_file_called_int8_are_named(report: Report) -> None:
    (warning,) = _row(report, "int8-in-name-only.tflite").warnings
    assert "its name says int8, and it holds float operators: CONV_2D" in warning
    assert not _row(report, "int8-in.tflite").warnings


def test_calibration_on_noise_fails_the_accuracy_gate(report: Report) -> None:
    assert "over the budget" in _reason(_row(report, "noise.tflite"), "max_accuracy_drop_points")


def test_a_given_input_is_taken_and_a_better_one_is_named(colours: tuple[Run, Path]) -> None:
    run, files = colours
    report = verify_artifacts(run, files=[files / "bgr.tflite"], file_input="scale=0..1 order=rgb", wanted=ACCURACY)
    (row,) = report.rows
    assert row.foreign is not None
    assert row.foreign.found_by == "given"
    assert row.verdict == "failed"
    (warning,) = row.warnings
    assert "another one fits better" in warning
    assert '--file-input "scale=0..1 order=bgr"' in warning


def test_files_stand_beside_the_runs_own_artifacts_in_every_form_of_the_report(
    tledge: Command, colours: tuple[Run, Path], tmp_path: Path
) -> None:
    run, files = colours
    shutil.copytree(run.folder, tmp_path / "colours")
    shutil.copytree(files, tmp_path / "vendor")
    assert tledge("export", "--run", "colours", "--artifacts", tmp_path, "--format", "tflite-float32").code == 0
    asked = [
        "verify",
        "--run",
        "colours",
        "--artifacts",
        tmp_path,
        "--protocol",
        "quick",
        "--target",
        "cpu-single-core",
    ]
    both = ["--file", files / "int8-in.tflite", "--file", tmp_path / "vendor" / "int8-in.tflite"]
    outcome = tledge(*asked, *both, "--p95-ms", "1000", "--max-drop", "5", "--max-memory-mb", "4000")
    assert outcome.code == 0, outcome.err + outcome.out
    assert "made elsewhere: takes int8" in outcome.out
    folder = tmp_path / "colours" / "verification"
    rows = json.loads((folder / "report.json").read_text())["rows"]
    assert [row["format"] for row in rows] == ["tflite-float32", "files/int8-in.tflite", "vendor/int8-in.tflite"]
    assert all(row["latency"]["p50_ms"] > 0 and row["peak_memory_mb"] > 0 for row in rows)
    assert rows[1]["speedups"][0]["against"] == "tflite-float32 on litert"
    for form in ("report.html", "report.md", "junit.xml"):
        text = (folder / form).read_text()
        assert "vendor/int8-in.tflite" in text, form
    assert "made elsewhere" in (folder / "report.html").read_text().lower()
