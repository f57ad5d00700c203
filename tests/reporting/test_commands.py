"""tledge report and tledge compare: from report.json alone, without measuring."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reporting.samples import sample_report
from tledge.files import write_sealed
from tledge.run import Run, open_run


@pytest.fixture
def runs(built: Run, tmp_path: Path) -> Path:
    """An artifacts folder with the runs a and b, each with a report, and c, which was never verified."""
    root = tmp_path / "artifacts"
    for name, seed in (("a", 2), ("b", 4), ("c", 0)):
        shutil.copytree(built.folder, root / name, ignore=shutil.ignore_patterns("verification"))
        if name == "c":
            continue
        run = open_run(root, name)
        run.reports().mkdir(exist_ok=True)
        report = sample_report(seed=seed, run=name).model_copy(update={"manifest_sha256": run.manifest_sha256})
        report.save(run.reports() / "report.json")
    (root / "latest").write_text("b\n")
    return root


def test_report_writes_every_file_again_and_leaves_the_record_alone(tledge: Callable[..., Any], runs: Path) -> None:
    folder = runs / "a" / "verification"
    before = (folder / "report.json").read_bytes()
    (folder / "report.md").write_text("old")
    outcome = tledge("report", "--run", "a", "--artifacts", runs)
    assert outcome.code == 0, outcome.err
    assert sorted(path.name for path in folder.iterdir()) == ["junit.xml", "report.html", "report.json", "report.md"]
    assert (folder / "report.json").read_bytes() == before
    assert (folder / "report.md").read_text().startswith("# a on cpu: failed")
    assert "tflite-int8" in outcome.out
    assert str(folder / "report.html") in outcome.out


def test_report_takes_the_latest_run_where_none_is_named(tledge: Callable[..., Any], runs: Path) -> None:
    assert tledge("report", "--artifacts", runs).out.startswith("b on cpu")


@pytest.mark.parametrize("command", [("report", "--run", "c"), ("compare", "a", "c"), ("compare", "c", "a")])
def test_a_run_that_was_not_verified_is_the_users_error_and_the_way_out_is_said(
    tledge: Callable[..., Any], runs: Path, command: tuple[str, ...]
) -> None:
    outcome = tledge(*command, "--artifacts", runs)
    assert outcome.code == 2
    assert "Verify first: tledge verify --run c" in outcome.err


def test_a_report_that_was_edited_is_refused(tledge: Callable[..., Any], runs: Path) -> None:
    path = runs / "a" / "verification" / "report.json"
    path.write_text(path.read_text().replace('"failed"', '"passed"'))
    outcome = tledge("report", "--run", "a", "--artifacts", runs)
    assert outcome.code == 3
    assert "Verify again: tledge verify --run a" in outcome.err


def test_a_report_of_another_build_or_of_an_older_version_is_refused(tledge: Callable[..., Any], runs: Path) -> None:
    path = runs / "a" / "verification" / "report.json"
    sample_report(run="a").save(path)
    outcome = tledge("report", "--run", "a", "--artifacts", runs)
    assert (outcome.code, "another build of a" in outcome.err) == (3, True)
    write_sealed(path, {"schema_version": 1})
    outcome = tledge("report", "--run", "a", "--artifacts", runs)
    assert (outcome.code, "schema version 1, this tledge reads 4" in outcome.err) == (3, True)


def test_compare_prints_a_table_or_json_of_two_runs(tledge: Callable[..., Any], runs: Path) -> None:
    outcome = tledge("compare", "a", "b", "--artifacts", runs)
    assert outcome.code == 0, outcome.err
    assert "BASE: a, NEW: b" in outcome.out
    assert "inside noise" in outcome.out
    found = json.loads(tledge("compare", "a", "b", "--artifacts", runs, "--json").out)
    assert (found["base_run"], found["new_run"], found["schema_version"]) == ("a", "b", 2)
    assert len(found["artifacts"]) == 6


def test_compare_reads_a_report_that_was_kept_as_a_file(tledge: Callable[..., Any], runs: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept.json"
    shutil.copy(runs / "a" / "verification" / "report.json", kept)
    outcome = tledge("compare", kept, "b", "--artifacts", runs)
    assert outcome.code == 0, outcome.err
    assert "BASE: a, NEW: b" in outcome.out
    outcome = tledge("compare", tmp_path / "gone.json", "b", "--artifacts", runs)
    assert (outcome.code, "no such file" in outcome.err) == (2, True)


def test_compare_of_an_unknown_run_names_the_nearest(tledge: Callable[..., Any], runs: Path) -> None:
    outcome = tledge("compare", "a", "bb", "--artifacts", runs)
    assert outcome.code == 2
    assert "Did you mean 'b'?" in outcome.err
