"""export --max-drop: on a network that integers hurt, on one that they don't, and with too few photos to tell."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tledge.accuracy_aware.search import export_within
from tledge.audit import audit, broken_promises
from tledge.exporters.options import Options
from tledge.records import ExportRecord
from tledge.run import Run, open_run
from tledge.stages import export, verify
from tledge.verification.measurement import Wanted

from .conftest import BUDGET, SAMPLES, tried

pytestmark = pytest.mark.long  # each search exports and scores several files

Tledge = Callable[..., Any]
Copied = Callable[..., Run]
INT8 = ("tflite-int8", "onnx-int8")


@pytest.fixture(scope="module")
def searched(planted: Run) -> dict[str, ExportRecord]:
    """What a search makes of the planted run, by the format that it began with."""
    return dict(zip(INT8, export_within(BUDGET, planted, INT8, options=Options(SAMPLES)), strict=True))


@pytest.mark.parametrize("name", INT8)
def test_a_network_that_integers_hurt_is_brought_inside_the_budget(
    planted: Run, searched: dict[str, ExportRecord], name: str
) -> None:
    record = searched[name]
    assert record.format == f"{name}-mixed"
    assert planted.export_record(record.format) == record
    assert planted.export_names() == [f"{form}-mixed" for form in sorted(INT8)]
    assert tried(record) == [name, record.format]
    assert record.options["range_stability"]["largest_difference"] > 0
    assert record.search
    assert record.search.missed_by_points is None
    plain, mixed = record.search.steps
    assert (plain.is_within_budget, mixed.is_within_budget) == (False, True)
    assert plain.accuracy_drop_points
    assert plain.accuracy_drop_points > BUDGET
    assert mixed.accuracy_drop_points_interval
    assert mixed.accuracy_drop_points_interval.high <= BUDGET
    assert mixed.p50_ms
    assert mixed.size_bytes == record.size_bytes > plain.size_bytes
    # Only what makes and what reads the planted channels.
    assert {layer.partition("/")[0] for layer in record.options["float_layers"]} == {"c3", "s4", "flatten", "c5"}


@pytest.mark.parametrize("name", INT8)
def test_a_mixed_artifact_has_a_promise_of_its_own(planted: Run, searched: dict[str, ExportRecord], name: str) -> None:
    record = searched[name]
    found = audit(planted.export_folder(record.format) / record.file)
    assert record.promise == "mixed integer and float"
    assert broken_promises(found, record.promise, record.file, record.options) == []
    assert 0 < (found.integer_mac_share or 0) < 1
    assert broken_promises(found, "all-integer", record.file, record.options)
    more = {**record.options, "float_operators": {**record.options["float_operators"], "Tanh": 1}}
    (problem,) = broken_promises(found, record.promise, record.file, more)
    assert "'Tanh': 1" in problem
    undeclared = {key: value for key, value in record.options.items() if key != "float_operators"}
    assert broken_promises(found, record.promise, record.file, undeclared)


def test_on_the_test_photos_too_mixed_files_keep_the_accuracy_that_plain_ones_lose(
    planted: Run, searched: dict[str, ExportRecord], tmp_path: Path
) -> None:
    shutil.copytree(planted.folder, tmp_path / "lenet")
    run = open_run(tmp_path, "lenet")
    export(run, INT8, options=Options(SAMPLES))
    report = verify(run, wanted=Wanted({"max_accuracy_drop_points": 10}, accuracy_only=True))
    assert {row.format for row in report.rows} == {*INT8, *(record.format for record in searched.values())}
    for row in report.rows:
        assert row.error is None
        assert row.drift is not None
        verdicts = {check.name: check.verdict for check in row.checks}
        assert verdicts["promise"] == "passed"
        assert (row.drift.accuracy_drop_points <= BUDGET) == (row.format not in INT8), row.format
        assert (verdicts["max_accuracy_drop_points"] == "failed") == (row.format in INT8)


def test_a_budget_that_so_few_photos_cannot_show_is_exit_code_1_and_the_best_is_kept_and_says_so(
    planted: Run, searched: dict[str, ExportRecord], tmp_path: Path, tledge: Tledge
) -> None:
    shutil.copytree(planted.folder, tmp_path / "lenet")
    asked = ["--format", "tflite-int8", "--max-drop", "0.5", "--calibration-samples", SAMPLES, "--run", "lenet"]
    ended = tledge("export", *map(str, asked), "--artifacts", tmp_path)
    assert ended.code == 1
    record = open_run(tmp_path, "lenet").export_record("tflite-int8-mixed")
    assert record.search
    assert record.search.missed_by_points
    assert record.search.missed_by_points > 0
    assert not any(step.is_within_budget for step in record.search.steps)
    num_photos = record.search.num_photos
    assert f"with {num_photos} validation photos not even equal answers would show a drop of at most 0.5" in ended.err
    assert "more would, and these can show 1." in ended.err
    assert f"misses the budget of 0.5 points by {record.search.missed_by_points:.2f}" in ended.err
    for said in ("tflite-int8-mixed", "not shown", f"{100 * record.search.original_accuracy:.2f}%"):
        assert said in ended.out
    # The search ended where a drop inside the budget was seen: to go on would be to chase chance.
    assert record.search.steps[-1].accuracy_drop_points is not None
    assert record.search.steps[-1].accuracy_drop_points <= 0.5
    assert record.sha256 == searched["tflite-int8"].sha256  # the same file, made again
    rows = verify("lenet", artifacts=tmp_path, format_names=[record.format], wanted=Wanted(accuracy_only=True)).rows
    assert f"of its drop was {record.search.missed_by_points:.2f} above that" in rows[0].warnings[0]
