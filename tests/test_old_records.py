"""Records of an earlier tledge still open: of recipes, methods and options that are gone, and of older keys."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from reporting.samples import sample_report

from tledge.errors import ArtifactError
from tledge.exporters.options import Options
from tledge.files import read_sealed, write_sealed
from tledge.records import Report
from tledge.run import UNFINISHED, Run, open_run
from tledge.stages import export
from tledge.training.recipe import RECIPES
from tledge.training.unfinished import Request, recall

Json = dict[str, Any]
OLD_RECIPE = {"name": "tutorial", "method": "plain"}
OLD_OPTIONS = {
    "ranges": "entropy",
    "ranges_tried": {"min-max": 0.002, "moving-average": 0.003, "percentile": 0.002, "entropy": 0.001, "mse": 0.002},
    "sparsity": "2:4",
    "zeros": 0.0,
}


def _dense(confusions: list[list[int]] | None, num_classes: int) -> list[list[int]]:
    """The whole matrix, as records had it before: rows are the truth, columns the answers."""
    matrix = [[0] * num_classes for _ in range(num_classes)]
    for actual, predicted, count in confusions or []:
        matrix[actual][predicted] = count
    return matrix


def _manifest_of_1(record: Json) -> Json:
    for scores in record["metrics"].values():
        scores["confusion_matrix"] = _dense(scores.pop("confusions"), len(record["labels"]))
    return {**record, "schema_version": 1}


def _report_of_3(record: Json) -> Json:
    size, of_original = len(record["labels"]), record["original"].pop("confusions")
    for drift in (record["original"]["cpu_drift"], *(row["drift"] for row in record["rows"])):
        if drift:
            drift["original_confusion_matrix"] = _dense(of_original, size)
            drift["confusion_matrix"] = _dense(drift.pop("confusions"), size)
    return {**record, "schema_version": 3}


@pytest.fixture
def old_run(lenet_copy: Run) -> Run:
    """A run with one int8 artifact, whose records are of tledge 0.1: recipe tutorial, ranges by entropy, zeros as 2:4."""
    export(lenet_copy, ["tflite-int8"], options=Options(calibration_samples=20))
    manifest = lenet_copy.folder / "manifest.json"
    written = read_sealed(manifest, "")
    recipe = {**written["recipe"], **OLD_RECIPE}
    write_sealed(manifest, {**_manifest_of_1(written), "tledge_version": "0.1.0", "recipe": recipe})
    run = open_run(lenet_copy.folder.parent, lenet_copy.name)
    path = run.export_folder("tflite-int8") / "export.json"
    record = read_sealed(path, "")
    options = {**record["options"], **OLD_OPTIONS}
    write_sealed(path, {**record, "options": options, "source_manifest_sha256": run.manifest_sha256})
    return run


def test_a_run_of_earlier_options_is_listed_verified_reported_and_compared(
    old_run: Run, tledge: Callable[..., Any]
) -> None:
    where = ["--artifacts", old_run.folder.parent]
    listed = tledge("runs", "--json", *where)
    assert (listed.code, json.loads(listed.out)["runs"][0]["name"]) == (0, old_run.name), listed.err
    assert old_run.export_record("tflite-int8").options.items() >= OLD_OPTIONS.items()
    where += ["--run", old_run.name]
    verified = tledge("verify", "--accuracy-only", *where)
    assert verified.code == 0, verified.err
    reported = tledge("report", *where)
    assert reported.code == 0, reported.err
    compared = tledge("compare", old_run.name, old_run.name, *where[:2])
    assert compared.code == 0, compared.err


def test_an_unfinished_build_of_a_recipe_that_is_gone_is_refused_by_name(tmp_path: Path) -> None:
    folder = tmp_path / f"{UNFINISHED}one"
    folder.mkdir()
    asked = Request(
        dataset="digits", backbone="bundled", input_size=None, weights=None, recipe=RECIPES["best"], seed=0, run="one",
        tensorboard=None, mlflow=False,
    )  # fmt: skip
    write_sealed(folder / "build.json", {**asked.as_json(), "recipe": {**asked.recipe.as_json(), **OLD_RECIPE}})
    with pytest.raises(ArtifactError, match=r"build\.json: recipe\.method: .* Remove .* and build again"):
        recall(tmp_path, None)


def test_a_manifest_with_whole_confusion_matrices_is_read_as_one_without_zeros(lenet: Run, old_run: Run) -> None:
    assert old_run.manifest.metrics == lenet.manifest.metrics
    assert old_run.manifest.schema_version == lenet.manifest.schema_version


@pytest.mark.parametrize("options", [{}, {"timed": False}])
def test_a_report_with_whole_confusion_matrices_is_read_as_one_without_zeros(
    tmp_path: Path, options: dict[str, bool]
) -> None:
    report, path = sample_report(num_gallery=2, **options), tmp_path / "report.json"
    write_sealed(path, _report_of_3(report.as_json()))
    assert Report.load(path, "") == report


def test_an_old_report_of_which_nothing_ran_has_no_confusions(tmp_path: Path) -> None:
    record, path = _report_of_3(sample_report(num_gallery=0, timed=False).as_json()), tmp_path / "report.json"
    write_sealed(path, {**record, "rows": [{**row, "drift": None, "answers": None} for row in record["rows"]]})
    assert Report.load(path, "").original.confusions is None


@pytest.mark.parametrize("value", [None, [], 7, {}, {"cpu_drift": 7}, {"cpu_drift": {"confusion_matrix": [[{}]]}}])
def test_an_old_report_that_is_none_is_refused_in_a_sentence(tmp_path: Path, value: object) -> None:
    path = tmp_path / "report.json"
    write_sealed(path, {**_report_of_3(sample_report(num_gallery=0).as_json()), "original": value})
    with pytest.raises(ArtifactError, match=r"report\.json: .* Verify again\."):
        Report.load(path, "Verify again.")
