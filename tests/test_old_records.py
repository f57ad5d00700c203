"""Records that name recipes, methods and options which tledge no longer has still open for reading."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tledge import export
from tledge.errors import ArtifactError
from tledge.exporters.options import Options
from tledge.files import read_sealed, write_sealed
from tledge.run import UNFINISHED, Run, open_run
from tledge.training.recipe import RECIPES
from tledge.training.unfinished import Request, recall

OLD_RECIPE = {"name": "tutorial", "method": "plain"}
OLD_OPTIONS = {
    "ranges": "entropy",
    "ranges_tried": {"min-max": 0.002, "moving-average": 0.003, "percentile": 0.002, "entropy": 0.001, "mse": 0.002},
    "sparsity": "2:4",
    "zeros": 0.0,
}


@pytest.fixture
def old_run(lenet_copy: Run) -> Run:
    """A run with one int8 artifact, whose records are of tledge 0.1: recipe tutorial, ranges by entropy, zeros as 2:4."""
    export(lenet_copy, ["tflite-int8"], options=Options(calibration_samples=20))
    manifest = lenet_copy.folder / "manifest.json"
    written = read_sealed(manifest, "")
    write_sealed(manifest, {**written, "tledge_version": "0.1.0", "recipe": {**written["recipe"], **OLD_RECIPE}})
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
