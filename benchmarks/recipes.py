"""tledge build with several recipes and seeds: test accuracy, its spread, and wall time.

    python benchmarks/recipes.py --dataset tf_flowers --recipes head finetune best --seeds 0 1 2

Every build runs as a user runs it, in its own process, with an empty cache of its own; the seed changes the split and the
training. Wall times are of whole processes. Options after ``--`` go to every build. It prints one JSON object, and a
table on standard error. Exit code 1 where a mean test accuracy is below its ``--at-least``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import begun, parsed, project_environment, run_timed
from rich.table import Table


def measure(dataset: str, recipe: str, seed: int, artifacts: Path | None, others: list[str]) -> dict[str, Any]:
    """One build. ``artifacts``: where the run is kept; None: nowhere."""
    with tempfile.TemporaryDirectory(prefix="tledge-benchmark-") as folder:
        root = artifacts or Path(folder, "artifacts")
        name = f"{Path(dataset.partition(':')[0]).name}-{Path(recipe).stem}-{seed}"
        command = [sys.executable, "-m", "tledge", "build", "--dataset", dataset, "--recipe", recipe]
        command += ["--seed", str(seed), "--run", name, "--artifacts", str(root), *others]
        ended = run_timed(command, project_environment(TLEDGE_CACHE_DIR=str(Path(folder, "cache"))))
        manifest = json.loads((root / name / "manifest.json").read_text())
    metrics = manifest["metrics"]
    return {
        "recipe": recipe,
        "seed": seed,
        "test_accuracy": metrics["test"]["accuracy"],
        "validation_accuracy": metrics["validation"]["accuracy"],
        "num_test_photos": metrics["test"]["num_photos"],
        "num_epochs": manifest["num_epochs"],
        "best_epoch": manifest["best_epoch"],
        "wall_time_s": round(ended.wall_time_s, 1),
        "resolved_recipe": manifest["recipe"],
    }


def summary(builds: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean, smallest and largest test accuracy, and the median wall time of one recipe's builds."""
    accuracies = [build["test_accuracy"] for build in builds]
    return {
        "recipe": builds[0]["recipe"],
        "builds": len(builds),
        "mean_test_accuracy": statistics.fmean(accuracies),
        "min_test_accuracy": min(accuracies),
        "max_test_accuracy": max(accuracies),
        "mean_validation_accuracy": statistics.fmean(build["validation_accuracy"] for build in builds),
        "median_wall_time_s": statistics.median(build["wall_time_s"] for build in builds),
        "max_wall_time_s": max(build["wall_time_s"] for build in builds),
    }


def table(summaries: list[dict[str, Any]], dataset: str) -> Table:
    """One row a recipe."""
    shown = Table(title=f"tledge build --dataset {dataset}", box=None, header_style="bold")
    shown.add_column("recipe")
    for name in ("builds", "test %, mean", "min", "max", "validation %", "median s", "max s"):
        shown.add_column(name, justify="right")
    for row in summaries:
        accuracies = [row[f"{kind}_test_accuracy"] for kind in ("mean", "min", "max")]
        shown.add_row(
            row["recipe"],
            str(row["builds"]),
            *(f"{100 * value:.2f}" for value in (*accuracies, row["mean_validation_accuracy"])),
            *(f"{row[f'{kind}_wall_time_s']:.0f}" for kind in ("median", "max")),
        )
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description="Accuracy and wall time of recipes over seeds.")
    parser.add_argument("--dataset", default="tf_flowers")
    parser.add_argument("--recipes", nargs="+", default=["head"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--at-least", type=float, nargs="*", default=[], help="percent, one a recipe")
    parser.add_argument("--artifacts", type=Path, help="keep the runs in this folder")
    options, others = parsed(parser)
    console, load = begun()
    builds, summaries = [], []
    for recipe in options.recipes:
        mine = []
        for seed in options.seeds:
            mine.append(measure(options.dataset, recipe, seed, options.artifacts, others))
            console.print(f"{recipe}, seed {seed}: {mine[-1]['test_accuracy']:.2%}, {mine[-1]['wall_time_s']} s")
        builds += mine
        summaries.append(summary(mine))
    from tledge.machine import this_machine

    console.print(table(summaries, options.dataset))
    result = {"dataset": options.dataset, "machine": this_machine().as_json(), "load_average_before": load}
    print(json.dumps({**result, "summaries": summaries, "builds": builds}, indent=2))
    low = [
        row for row, least in zip(summaries, options.at_least, strict=False) if 100 * row["mean_test_accuracy"] < least
    ]
    sys.exit(bool(low))


if __name__ == "__main__":
    main()
