"""The benchmark programs run and measure what they say; no test here looks at a time."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tledge.exporters import formats
from tledge.run import Run

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
LIMIT = 64
LIBRARIES = ("common.py", "whole.py")  # what the programs share
IMPORT_FIRST = ("naive_transfer.py",)  # its own clock starts before TensorFlow is imported


def program(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a benchmark program to its end."""
    command = [sys.executable, str(BENCHMARKS / name), *map(str, arguments)]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def test_a_kill_at_a_random_moment_leaves_whole_runs_only() -> None:
    arguments = ["--kills", "3", "--max-epochs", "3", "--format", "tflite-float32", "--format", "onnx-float32"]
    ended = program("kill_at_random.py", *arguments)
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
    assert ended.stdout.splitlines()[-1] == "3 kills, 0 violations"


def flower_ids() -> list[tuple[str, int]]:
    """(tfds_id, label) of the first photos of tf_flowers, as splits.csv of a run names them."""
    from tledge.datasets import open_source

    photos = open_source("tf_flowers").photos()
    return [(photo.id, photo.label) for photo, _ in zip(photos, range(3 * LIMIT), strict=False)]


@pytest.fixture
def flowers_splits(real_data: None, tmp_path: Path) -> Path:
    """A splits.csv of a few photos in each split."""
    path = tmp_path / "splits.csv"
    with path.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["split", "label", "content_sha256", "id"])
        for number, (photo_id, label) in enumerate(flower_ids()):
            table.writerow([("train", "validation", "test")[number % 3], label, "00" * 32, photo_id])
    return path


def test_the_naive_recipe_trains_on_the_split_it_is_given(flowers_splits: Path) -> None:
    ended = program("naive_transfer.py", "--splits", flowers_splits, "--epochs", "1", "--limit", str(LIMIT // 2))
    assert ended.returncode == 0, ended.stderr
    result = json.loads(ended.stdout)
    assert result["num_photos"] == dict.fromkeys(("train", "validation", "test"), LIMIT // 2)
    for split in ("validation", "test"):
        assert 0.0 <= result[f"{split}_accuracy"] <= 1.0
    assert result["wall_time_s"] > result["fit_s"] > 0.0


def test_the_naive_recipe_refuses_a_split_of_other_photos(flowers_splits: Path) -> None:
    lines = flowers_splits.read_text().splitlines()
    lines[1] = lines[1].rpartition(",")[0] + ",tf_flowers-of-another-version__0"
    flowers_splits.write_text("\n".join(lines) + "\n")
    ended = program("naive_transfer.py", "--splits", flowers_splits, "--epochs", "1")
    assert ended.returncode != 0
    assert "expected to contain 64 elements but contained only 63" in ended.stderr


def test_programs_explain_themselves_without_tensorflow() -> None:
    environment = {**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}
    for name in sorted(path.name for path in BENCHMARKS.glob("*.py") if path.name not in (*LIBRARIES, *IMPORT_FIRST)):
        command = [sys.executable, str(BENCHMARKS / name), "--help"]
        ended = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        assert "usage:" in ended.stdout
        assert " tensorflow\n" not in ended.stderr


def test_an_artifact_is_compared_with_itself(exported: tuple[Run, object]) -> None:
    folder = exported[0].folder
    ended = program(
        "self_comparison.py", "--artifacts", folder.parent, "--run", folder.name, "--format", "tflite-int8",
        "--protocol", "quick", "--comparisons", "1", "--min-right", "0",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    result = json.loads(ended.stdout)
    assert (result["comparisons"], len(result["ratios"])) == (1, 1)


def test_verify_is_compared_with_a_bare_loop_over_the_same_photos(run_copy: Run) -> None:
    run = run_copy
    ended = program(
        "verify.py", "--artifacts", run.folder.parent, "--run", run.folder.name, "--repeats", "1",
        "--max-ratio", "1000",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    result = json.loads(ended.stdout)
    assert result["num_artifacts"] == len(formats())
    assert result["num_photos"] == run.manifest.splits["test"].num_photos
    assert result["whole_command_ratio"] > result["pass_ratio"] > 0


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to tell memory apart")
def test_memory_of_a_verification_is_its_own_and_of_mapped_files(run_copy: Run) -> None:
    ended = program("memory.py", "--artifacts", run_copy.folder.parent, "--runs", run_copy.folder.name)
    assert ended.returncode == 0, ended.stderr
    (found,) = json.loads(ended.stdout)
    assert found["test_photos"] == run_copy.manifest.splits["test"].num_photos
    assert 10 < found["own_mb"] < 1000


def test_recipes_are_built_and_their_spread_is_told(tmp_path: Path) -> None:
    ended = program(
        "recipes.py", "--dataset", "digits", "--recipes", "head", "--seeds", "0", "1", "--at-least", "101",
        "--artifacts", tmp_path, "--", "--backbone", "bundled", "--max-epochs", "1",
    )  # fmt: skip
    assert ended.returncode == 1  # no accuracy is above 100%
    result = json.loads(ended.stdout)
    (summary,) = result["summaries"]
    accuracies = [build["test_accuracy"] for build in result["builds"]]
    assert summary["mean_test_accuracy"] == pytest.approx(sum(accuracies) / 2)
    assert summary["min_test_accuracy"] == min(accuracies)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["digits-head-0", "digits-head-1", "latest"]
