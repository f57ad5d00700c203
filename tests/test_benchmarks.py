"""The benchmark programs run and measure what they say; no test here looks at a time."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from tledge.exporters import formats
from tledge.machine import usable_cores
from tledge.outputs import MARK
from tledge.records import Report
from tledge.run import Run

pytestmark = pytest.mark.long  # it runs every benchmark on small data

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
LIMIT, FEW = 64, 8
LIBRARIES = ("client_environments.py", "common.py", "plain_int8.py", "whole.py")  # what the programs share
IMPORT_FIRST = ("naive_transfer.py",)  # its own clock starts before TensorFlow is imported


def program(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a benchmark program to its end."""
    command = [sys.executable, str(BENCHMARKS / name), *map(str, arguments)]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def test_a_kill_at_a_random_moment_leaves_whole_runs_only(
    photo_folder: Callable[..., Path], tiny_backbone: Path
) -> None:
    photos = photo_folder({"cat": 30, "dog": 30})
    small = ["--dataset", photos, "--backbone", tiny_backbone, "--max-epochs", "1"]
    ended = program("kill_at_random.py", "--command", "build", "--kills", "1", *small)
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
    assert ended.stdout.splitlines()[-1] == "1 kills, 0 violations"


def test_builds_of_a_network_that_were_killed_are_resumed_to_what_the_unbroken_one_reached(
    photo_folder: Callable[..., Path],
) -> None:
    photos = photo_folder({"cat": 60, "dog": 60})
    network = ["--dataset", photos, "--backbone", "lenet", "--recipe", "scratch", "--max-epochs", "8"]
    # The first moment that this seed draws is at two thirds of the time: the network is being trained.
    ended = program("kill_at_random.py", "--command", "build", "--kills", "1", "--seed", "19", *network)
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
    assert "unfinished builds that were resumed: 1\n" in ended.stdout
    assert ended.stdout.splitlines()[-1] == "1 kills, 0 violations"


@pytest.mark.parametrize(
    ("loss", "accuracy", "said"),
    [
        (0.5, 0.75, []),
        (0.5004, 0.75, []),
        (0.502, 0.75, ["loss of epoch 2 is 0.502000, of the unbroken one 0.500000"]),
        (math.nan, 0.75, ["loss of epoch 2 is nan, of the unbroken one 0.500000"]),
        (0.5, 0.7, ["test accuracy is 0.700000, of the unbroken one 0.750000"]),
        (None, 0.75, ["it tells of loss of epoch 2, or does not, unlike the unbroken one"]),
    ],
)
def test_a_resumed_run_is_held_against_an_unbroken_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, loss: float | None, accuracy: float, said: list[str]
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    defined = runpy.run_path(str(BENCHMARKS / "kill_at_random.py"))
    for name, last, found in (("unbroken", 0.5, 0.75), ("resumed", loss, accuracy)):
        (tmp_path / name).mkdir()
        rows = ["epoch,loss", "1,0.9", *([] if last is None else [f"2,{last}"])]
        (tmp_path / name / "history.csv").write_text("\n".join(rows))
        metrics = {"test": {"accuracy": found, "f1_macro": 0.5, "num_photos": 8}}
        (tmp_path / name / "manifest.json").write_text(json.dumps({"metrics": metrics}))
    assert defined["differences"](tmp_path, "unbroken", "resumed") == said


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
    ended = program("naive_transfer.py", "--splits", flowers_splits, "--epochs", "1", "--limit", str(FEW))
    assert ended.returncode == 0, ended.stderr
    result = json.loads(ended.stdout)
    assert result["num_photos"] == dict.fromkeys(("train", "validation", "test"), FEW)
    for split in ("validation", "test"):
        assert 0.0 <= result[f"{split}_accuracy"] <= 1.0
    assert result["wall_time_s"] > result["fit_s"] > 0.0


def test_the_naive_recipe_trains_the_whole_graph_until_it_is_good_enough(flowers_splits: Path) -> None:
    options = ["--whole", "--epochs", "2", "--limit", str(FEW), "--until-accuracy", "0"]
    ended = program("naive_transfer.py", "--splits", flowers_splits, *options)
    assert ended.returncode == 0, ended.stderr
    result = json.loads(ended.stdout)
    assert result["is_reached"]
    (only,) = result["history"]
    assert (only["epoch"], only["accuracy"]) == (1, result["validation_accuracy"])
    assert f"epoch 1: held-out accuracy {only['accuracy']:.2%} after" in ended.stderr


def test_the_naive_recipe_keeps_the_weights_of_its_best_epoch() -> None:
    import tf_keras

    defined = runpy.run_path(str(BENCHMARKS / "naive_transfer.py"))
    tf_keras.utils.set_random_seed(0)
    model = tf_keras.Sequential([tf_keras.layers.Dense(2, input_shape=(4,), activation="softmax")])
    model.compile(tf_keras.optimizers.SGD(50.0), "sparse_categorical_crossentropy", metrics=["accuracy"])
    rng = np.random.default_rng(0)
    photos, labels = rng.normal(size=(200, 4)).astype(np.float32), rng.integers(0, 2, 200)
    watch = defined["Watch"](math.inf)
    model.fit(photos[:100], labels[:100], validation_data=(photos[100:], labels[100:]), epochs=8, verbose=0,
              callbacks=[watch])  # fmt: skip
    accuracies = [one["accuracy"] for one in watch.history]
    assert len(accuracies) == 8
    assert max(accuracies) > accuracies[-1]  # so large a learning rate jumps about
    assert not watch.is_enough
    model.set_weights(watch.best_weights)
    model.evaluate(photos[100:], labels[100:], verbose=0)
    assert defined["last_accuracy"](model) == max(accuracies)


def test_the_naive_recipe_refuses_a_split_of_other_photos(flowers_splits: Path) -> None:
    lines = flowers_splits.read_text().splitlines()
    lines[1] = lines[1].rpartition(",")[0] + ",tf_flowers-of-another-version__0"
    flowers_splits.write_text("\n".join(lines) + "\n")
    ended = program("naive_transfer.py", "--splits", flowers_splits, "--epochs", "1")
    assert ended.returncode != 0
    assert "expected to contain 64 elements but contained only 63" in ended.stderr


@pytest.fixture
def comparison(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What benchmarks/build.py defines."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return SimpleNamespace(**runpy.run_path(str(BENCHMARKS / "build.py")))


def a_pair(comparison: SimpleNamespace, naive_s: float, is_as_good: bool = True, naive_test: float = 0.9) -> Any:
    """tledge took 10 s, and was right on 90 of 100 test photos."""
    tledge, naive = comparison.Scored(0.9, 0.9, 10.0), comparison.Scored(0.9, naive_test, naive_s)
    return comparison.Pair(0, 0, tledge, naive, not is_as_good, [])


@pytest.mark.parametrize(
    ("runs", "problems"),
    [
        ([(30, True), (41, True), (90, True)], []),
        ([(30, True), (39, True), (90, True)], ["the ratio of wall times is 3.90, below 4"]),
        ([(30, True), (39, True), (90, False)], ["the ratio of wall times is 3.90, below 4"]),
        ([(41, False)], []),
        ([(39, False)], ["the ratio of wall times is at least 3.90, which does not show 4: "]),
        ([(30, False), (39, True), (90, True)], ["the ratio of wall times is at least 3.90, which does not show 4: "]),
    ],
)
def test_a_naive_run_that_was_never_as_good_makes_a_lower_bound_where_the_median_depends_on_it(
    comparison: SimpleNamespace, runs: list[tuple[float, bool]], problems: list[str]
) -> None:
    pairs = [a_pair(comparison, naive_s, is_as_good) for naive_s, is_as_good in runs]
    verdict = comparison.judge(pairs, 4.0, 0.0)
    assert [said[: len(begin)] for said, begin in zip(verdict.problems, problems, strict=True)] == problems
    shown = io.StringIO()
    Console(file=shown, width=140).print(comparison.table("finetune", pairs, verdict))
    assert shown.getvalue().count("at least") == sum(not is_as_good for _, is_as_good in runs) + (
        verdict.is_lower_bound and len(runs) > 1
    )


def test_a_worse_mean_test_accuracy_is_a_problem_however_fast(comparison: SimpleNamespace) -> None:
    pairs = [a_pair(comparison, 1000, naive_test=accuracy) for accuracy in (0.89, 0.92)]
    assert comparison.judge(pairs, 4.0, 0.0).problems == ["test accuracy is 0.50 points lower"]
    assert comparison.judge(pairs, 4.0, 0.6).problems == []


def test_programs_explain_themselves_without_tensorflow() -> None:
    environment = {**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}
    for name in sorted(path.name for path in BENCHMARKS.glob("*.py") if path.name not in (*LIBRARIES, *IMPORT_FIRST)):
        command = [sys.executable, str(BENCHMARKS / name), "--help"]
        ended = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        assert "usage:" in ended.stdout
        assert " tensorflow\n" not in ended.stderr


def test_a_run_is_verified_twice_and_the_gate_finds_what_is_planted_alone(exported: tuple[Run, object]) -> None:
    folder = exported[0].folder
    ended = program(
        "regressions.py", "--artifacts", folder.parent, "--run", folder.name, "--format", "tflite-int8",
        "--protocol", "quick", "--comparisons", "1", "--most-verifications", "2",
    )  # fmt: skip
    result = json.loads(ended.stdout)
    assert result["verifications"] == 2
    assert all(result["same_build"][rule] == {"passed": 1} for rule in ("accuracy", "agreement", "size"))
    assert result["planted"]["size"] == {"failed": 1}


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
    assert result["num_artifacts"] == len(run.exports())
    assert result["num_photos"] == run.manifest.splits["test"].num_photos
    assert result["whole_command_ratio"] > result["pass_ratio"] > 0


def test_formats_at_once_are_timed_against_one_after_another_and_are_the_same_files(lenet: Run) -> None:
    formats = ["--format", "tflite-float16", "--format", "tflite-float32"]
    ended = program("exports.py", lenet.folder, "--rounds", "1", "--max-ratio", "0", "--", *formats)
    found = json.loads(ended.stdout)
    assert found["formats"] == formats[1::2]
    assert found["same_files"]
    assert found["ratio"] == pytest.approx(
        found["wall_times_s_by_jobs"]["2"][0] / found["wall_times_s_by_jobs"]["1"][0], abs=1e-3
    )
    cpu_time_s, wall_time_s = (found[f"{kind}_times_s_by_jobs"]["1"][0] for kind in ("cpu", "wall"))
    assert cpu_time_s > 1  # TensorFlow alone takes that long to load
    assert found["least_ratio"] == pytest.approx(cpu_time_s / usable_cores() / wall_time_s, abs=1e-3)
    assert ended.returncode == 1  # no ratio is that small


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to tell memory apart")
def test_memory_of_a_verification_is_its_own_and_of_mapped_files(run_copy: Run) -> None:
    ended = program("memory.py", "--artifacts", run_copy.folder.parent, "--runs", run_copy.folder.name)
    assert ended.returncode == 0, ended.stderr
    (found,) = json.loads(ended.stdout)
    assert found["test_photos"] == run_copy.manifest.splits["test"].num_photos
    assert 10 < found["own_mb"] < 1000


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to tell memory apart")
def test_memory_of_an_export_is_held_to_a_bound(lenet_copy: Run) -> None:
    where = ["--artifacts", lenet_copy.folder.parent, "--runs", lenet_copy.folder.name]
    ended = program("memory.py", *where, "--export", "onnx-float32", "--max-mb", "100")
    (found,) = json.loads(ended.stdout)
    assert found["own_mb"] > 100  # TensorFlow alone takes more
    assert ended.returncode == 1


def test_recipes_are_built_and_their_spread_is_told(
    tmp_path: Path, photo_folder: Callable[..., Path], tiny_backbone: Path
) -> None:
    runs = tmp_path / "runs"
    ended = program(
        "recipes.py", "--dataset", photo_folder({"cat": 30, "dog": 30}), "--recipes", "head", "--seeds", "0", "1",
        "--at-least", "101", "--artifacts", runs, "--", "--backbone", tiny_backbone, "--max-epochs", "1",
    )  # fmt: skip
    assert ended.returncode == 1  # no accuracy is above 100%
    result = json.loads(ended.stdout)
    (summary,) = result["summaries"]
    accuracies = [build["test_accuracy"] for build in result["builds"]]
    assert summary["mean_test_accuracy"] == pytest.approx(sum(accuracies) / 2)
    assert summary["min_test_accuracy"] == min(accuracies)
    assert sorted(path.name for path in runs.iterdir()) == [MARK, "latest", "photos-head-0", "photos-head-1"]


@pytest.fixture(scope="module")
def systems() -> Iterator[SimpleNamespace]:
    """What benchmarks/systems.py defines."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield SimpleNamespace(**runpy.run_path(str(BENCHMARKS / "systems.py")))


def test_a_system_that_can_not_be_built_misses_its_bar_and_the_reason_is_told(tmp_path: Path) -> None:
    ended = program("systems.py", "--rows", "lenet", "--artifacts", tmp_path, "--", "--image-size", "4")
    assert ended.returncode == 1
    (row,) = json.loads(ended.stdout)["rows"]
    assert row["exit_codes"] == {"build": 2, "export": None, "verify": None}
    (sentence,) = row["missed"]
    assert "build ended with exit code 2" in sentence
    assert "--image-size 4: lenet takes 12 to 128 pixels a side" in sentence
    assert f"lenet: {sentence}" in ended.stderr
    assert row["build_peak_memory_gb"] > 0.1  # TensorFlow alone takes more


def test_a_system_that_was_verified_has_its_accuracy_and_the_gates_that_failed(
    systems: SimpleNamespace, verified: Run, report: Report
) -> None:
    found = systems.outcome(verified.folder)
    assert found["metrics"]["accuracy"] == verified.manifest.metrics["test"].accuracy
    assert found["reloaded"]["agreement"] == 1
    failed = [check.reason for row in report.rows for check in row.checks if check.verdict == "failed"]
    assert [gate.partition(": ")[2] for gate in found["failed_gates"]] == failed


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({}, None),
        ({"exit_codes": {"build": 0, "verify": 3}}, "verify ended with exit code 3: no disk"),
        ({"failed_gates": ["a gate"]}, "a gate"),
        ({"least_percent": 99.1}, "test accuracy is 99.00%, below 99.1%"),
        ({"reloaded": {"agreement": 0.999, "max_abs_probability_difference": 0.0}}, "once it is loaded again"),
        ({"reloaded": {"agreement": 1.0, "max_abs_probability_difference": 1e-3}}, "once it is loaded again"),
        ({"embedding_differences": {"features": 2e-5}}, "features: up to 2.0e-05 of the range away"),
        ({"build_peak_memory_gb": 4.01}, "the build took 4.01 GB of memory, over 4 GB"),
        ({"build_peak_memory_gb": 9.0, "max_memory_gb": None}, None),
        ({"metrics": {"accuracy": math.nan}}, "test accuracy is nan%, below 99%"),
        ({"reloaded": {"agreement": math.nan, "max_abs_probability_difference": 0.0}}, "once it is loaded again"),
        ({"reloaded": {"agreement": 1.0, "max_abs_probability_difference": math.nan}}, "once it is loaded again"),
        ({"embedding_differences": {"features": math.nan}}, "features: up to nan of the range away"),
    ],
)
def test_a_system_misses_its_bar_in_each_of_its_ways(
    systems: SimpleNamespace, changed: dict[str, Any], sentence: str | None
) -> None:
    row = {
        "exit_codes": {"build": 0, "export": 0, "verify": 0}, "failed_gates": [], "least_percent": 99.0,
        "metrics": {"accuracy": 0.99}, "reloaded": {"agreement": 1.0, "max_abs_probability_difference": 0.0},
        "embedding_differences": {"features": 1e-6}, "build_peak_memory_gb": 4.0, "max_memory_gb": 4.0,
    }  # fmt: skip
    missed = systems.missed({**row, **changed}, {"verify": "no disk"})
    assert len(missed) == (sentence is not None)
    assert sentence is None or sentence in missed[0]


def test_written_features_are_held_against_the_networks_own(
    systems: SimpleNamespace, built: Run, photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    from tledge.inference.embed import embed

    photos, features, layer = photo_folder({"cat": 4, "dog": 3}), tmp_path / "f.parquet", tmp_path / "layer.npy"
    embed(built, str(photos), features)
    embed(built, str(photos), layer, layer=systems.LAYER)
    found = systems.embedding_differences(built.folder, photos, features, layer)
    assert set(found) == {"features", systems.LAYER}
    assert max(found.values()) <= systems.MAX_DIFFERENCE
    values = np.load(layer)
    size = np.ptp(values)
    values[5, 0] += 0.25
    np.save(layer, values)
    found = systems.embedding_differences(built.folder, photos, features, layer)
    assert found[systems.LAYER] == pytest.approx(0.25 / size, rel=1e-3)
    assert found["features"] <= systems.MAX_DIFFERENCE


def test_formats_are_held_against_the_plain_recipes_on_the_same_photos(lenet_copy: Run) -> None:
    ended = program("quantization.py", lenet_copy.folder, "--formats", "tflite-float32")
    assert ended.returncode == 0, ended.stderr
    rows = {row["format"]: row for row in json.loads(ended.stdout)["rows"]}
    assert set(rows) == {"tflite-float32", "plain tflite int8", "plain onnx int8"}
    exact = rows["tflite-float32"]
    assert (exact["agreement_percent"], exact["drop_points"]) == (100, 0)
    for name in ("plain tflite int8", "plain onnx int8"):
        assert rows[name]["agreement_percent"] > 90
        assert rows[name]["mean_abs_probability_difference"] > exact["mean_abs_probability_difference"]
        assert rows[name]["size_mb"] < 0.6 * exact["size_mb"]
    assert all(row["agreement_with_twin_percent"] == 100 for row in rows.values())  # none has one
    assert all(0 < row["compressed_mb"] < row["size_mb"] and row["p50_ms"] > 0 for row in rows.values())


def test_formats_of_one_training_are_exported_together_and_others_by_themselves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    known, together = formats(), runpy.run_path(str(BENCHMARKS / "quantization.py"))["together"]
    names = ["onnx-int8-qat", "tflite-int8", "tflite-int8-qat", "onnx-int8"]
    alone = [["tflite-int8"], ["onnx-int8"]]
    assert together([known[name] for name in names]) == [["onnx-int8-qat", "tflite-int8-qat"], *alone]


def test_what_was_measured_of_other_runs_is_taken_into_the_means_and_nothing_counts_twice(tmp_path: Path) -> None:
    def printed(name: str, *rows: tuple[str, str, float]) -> Path:
        figures = {
            "agreement_percent": 100, "mean_abs_probability_difference": 0, "max_abs_probability_difference": 0,
            "agreement_with_twin_percent": 100, "accuracy_percent": 90, "size_mb": 1, "compressed_mb": 1, "p50_ms": 1,
            "p50_over_plain": 1, "export_s": 1,
        }  # fmt: skip
        found = [{"run": run, "format": form, "drop_points": drop, **figures} for run, form, drop in rows]
        (tmp_path / name).write_text(json.dumps({"rows": found}))
        return tmp_path / name

    first = printed("first", ("a", "tflite-int8", 9), ("a", "onnx-int8", 0.1))
    second = printed("second", ("a", "tflite-int8", 0.2), ("b", "tflite-int8", 0.6))
    ended = program("quantization.py", "--with", first, second)
    found = json.loads(ended.stdout)
    assert found["means"]["tflite-int8"]["drop_points"] == pytest.approx(0.4)
    assert [row["num_runs"] for row in found["means"].values()] == [2, 1]
    assert found["missed"] == ["tflite-int8: drop in points is 0.400, over 0.3"]
    assert ended.returncode == 1
    assert program("quantization.py").returncode == 2
    assert program("quantization.py", tmp_path, tmp_path).returncode == 2


def test_a_format_misses_its_bar_in_each_of_its_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    quantization = SimpleNamespace(**runpy.run_path(str(BENCHMARKS / "quantization.py")))
    good = {
        "drop_points": 0.1, "agreement_percent": 99.5, "mean_abs_probability_difference": 0.004, "size_mb": 2.6,
        "compressed_mb": 2.2, "p50_over_plain": 1.0, "num_runs": 1,
    }  # fmt: skip
    whole = {"plain tflite int8": good, "tflite-int8": good}
    assert quantization.missed(whole) == []
    for figure, value, words in (
        ("drop_points", 0.31, "drop in points is 0.310, over 0.3"),
        ("agreement_percent", 98.4, "disagreement in percent is 1.600, over 1.5"),
        ("size_mb", 2.72, "size in MB is 2.720, over 2.71"),
        ("p50_over_plain", 1.1, "latency over the plain recipe's is 1.100, over 1.05"),
        ("drop_points", float("nan"), "drop in points is nan, over 0.3"),
    ):
        changed = {**whole, "tflite-int8": {**good, figure: value}}
        assert quantization.missed(changed) == [f"tflite-int8: {words}"]
    pruned = {**good, "compressed_mb": 1.0}
    assert quantization.missed({**whole, "tflite-int8-pruned": pruned}) == []
    assert quantization.missed({**whole, "tflite-int8-pruned": {**pruned, "num_runs": 2}}) == [
        "tflite-int8-pruned: compressed size over that of tflite-int8 is nan, over 0.6"
    ]
    smaller = {**whole, "tflite-int8-pruned": {**good, "compressed_mb": 1.4}}
    assert quantization.missed(smaller) == [
        "tflite-int8-pruned: compressed size over that of tflite-int8 is 0.636, over 0.6"
    ]
    trained = {**whole, "tflite-int8-qat": {**good, "mean_abs_probability_difference": 0.003}}
    assert quantization.missed(trained) == [
        "tflite-int8-qat: mean difference of probabilities over that of plain tflite int8 is 0.750, over 0.5"
    ]
    near = {**good, "drop_points": 0, "size_mb": 2.5, "mean_abs_probability_difference": 0.001}
    apart = {"plain onnx int8": good, "onnx-int8-qat": {**near, "agreement_with_twin_percent": 98.5}}
    assert quantization.missed({**whole, **apart}) == [
        "onnx-int8-qat: disagreement with its twin in percent is 1.500, over 1"
    ]


def test_a_cell_of_small_data_has_two_photos_of_each_class_to_train_on_and_no_photo_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    small = runpy.run_path(str(BENCHMARKS / "small_data.py"))
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(3000, 4)).astype(np.float32), np.arange(3000) % 10
    for cell in small["cells"]():
        counts = small["class_counts"](cell)
        assert len(counts) == cell.num_classes
        assert counts.min() >= 3
        assert counts.sum() <= cell.size + 3 * cell.num_classes
    for num_classes, size, balance in ((2, 60, 50), (10, 600, 7)):
        cell = small["Cell"]("made", num_classes, size, balance)
        parts = small["chosen"](cell, features, labels, 0)
        assert np.bincount(parts["train"][1]).min() >= 2
        rows = np.concatenate([part for part, _ in parts.values()])
        assert len(set(rows)) == len(rows)
        # The classes are named anew: those of a cell are drawn.
        assert all(len(set(labels[part[truth == label]])) <= 1 for part, truth in parts.values() for label in range(10))
    assert small["chosen"](small["Cell"]("made", 2, 3000, 1), features, labels, 0) is None


def test_a_cell_says_how_much_better_the_head_is_and_whether_it_is_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    small = runpy.run_path(str(BENCHMARKS / "small_data.py"))
    good, bad, none = np.arange(40) < 36, np.arange(40) < 12, np.zeros(0, bool)
    cell = small["Cell"]("made", 2, 60, 1)
    line, is_worse = small["row"](cell, [small["Answers"](good, bad, good, bad, bad)])
    assert line.startswith("| made | 2 | 60 | 1:1 | 40 | 30.0 | 30.0 | 90.0 | +60.0 (+")
    assert line.endswith("| +60.0 |")
    assert not is_worse
    line, is_worse = small["row"](cell, [small["Answers"](bad, good, none, none, bad)])
    assert "| -60.0 (-" in line
    assert line.endswith("|  |")
    assert is_worse


@pytest.mark.usefixtures("empty_cache")
def test_near_copies_are_measured_and_frames_of_a_fixed_camera_are_told_and_kept() -> None:
    ended = program("near_copies.py", "--camera", "60", "--size", "32", "--copies", "2")
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert all(0 <= one["median"] <= one["max"] < 4 and one["missed_share"] == 0 for one in found["copies"].values())
    assert found["others"]["training_photos"] + found["others"]["held_out_photos"] == 60
    assert found["others"]["dropped"] == 0
    assert found["others"]["kept_and_told"] > 10


def test_environments_that_are_not_the_developers_end_without_a_bug() -> None:
    ended = program("environments.py", "--only", "brackets in the path", "--only", "no flock", "--json")
    assert ended.returncode == 0, ended.stderr
    rows = {row["environment"]: row["exit_codes"] for row in json.loads(ended.stdout)}
    assert rows["brackets in the path"] == [0, 0, 0]
    assert rows["no flock"][-1] in (0, 3)


def test_large_photos_are_decoded_faster_at_a_part_of_their_size() -> None:
    ended = program("large_photos.py", "--photos", "1", "--megapixels", "9")
    assert ended.returncode == 0, ended.stderr
    assert "largest difference" in ended.stdout
