"""tledge build against the naive recipe, on the same photos: accuracy and wall time.

    python benchmarks/build.py --seeds 0 1 2

For every seed, ``tledge build`` runs as a user runs it, in its own process with an empty cache; then
naive_transfer.py trains on the split that it chose and is scored on the same photos. Wall times are of whole
processes, imports included. Needs tf_flowers and the Hub module (TFDS_DATA_DIR, TFHUB_CACHE_DIR) or a network.

The claim: the median wall time of the naive recipe over all runs is at least ``--min-ratio`` times that of tledge,
and the mean test accuracy of tledge over all runs is at most ``--max-accuracy-loss-points`` below the naive one's.
Exit code 1 where it does not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common import busy_warning, load_average, project_environment, run_timed
from rich.console import Console
from rich.table import Table

DATASET = "tf_flowers"


@dataclass(frozen=True)
class Scored:
    """One program's outcome. Accuracies are fractions; ``wall_time_s`` is of the whole process."""

    validation_accuracy: float
    test_accuracy: float
    wall_time_s: float


@dataclass(frozen=True)
class Pair:
    """Both programs on one split."""

    seed: int
    repeat: int
    tledge: Scored
    naive: Scored

    @property
    def ratio(self) -> float:
        """How many times longer the naive recipe took."""
        return self.naive.wall_time_s / self.tledge.wall_time_s


@dataclass(frozen=True)
class Verdict:
    """The claim against the measurement. ``ratio``: of the median wall times; accuracies: means over the runs."""

    ratio: float
    min_ratio: float
    tledge_test_accuracy: float
    naive_test_accuracy: float
    max_accuracy_loss_points: float

    @property
    def problems(self) -> list[str]:
        """In what the claim does not hold; empty where it does."""
        found = []
        if self.ratio < self.min_ratio:
            found.append(f"the ratio of wall times is {self.ratio:.2f}, below {self.min_ratio:g}")
        loss_points = 100 * (self.naive_test_accuracy - self.tledge_test_accuracy)
        if loss_points > self.max_accuracy_loss_points:
            allowed = f", and {self.max_accuracy_loss_points:g} are allowed" if self.max_accuracy_loss_points else ""
            found.append(f"test accuracy is {loss_points:.2f} points lower{allowed}")
        return found


def measure_tledge(folder: Path, seed: int) -> tuple[Scored, Path]:
    """Build in ``folder`` with an empty cache; also the path of the run's splits.csv."""
    artifacts = folder / "artifacts"
    command = [sys.executable, "-m", "tledge", "build", "--dataset", DATASET, "--seed", str(seed)]
    command += ["--run", "flowers", "--artifacts", str(artifacts)]
    ended = run_timed(command, project_environment(TLEDGE_CACHE_DIR=str(folder / "cache")))
    metrics = json.loads((artifacts / "flowers" / "manifest.json").read_text())["metrics"]
    scored = Scored(metrics["validation"]["accuracy"], metrics["test"]["accuracy"], ended.wall_time_s)
    return scored, artifacts / "flowers" / "splits.csv"


def measure_naive(splits: Path, seed: int, epochs: int, limit: int | None) -> Scored:
    """Train the naive recipe on the split of a run."""
    program = Path(__file__).with_name("naive_transfer.py")
    command = [sys.executable, str(program), "--dataset", DATASET, "--splits", str(splits)]
    command += ["--seed", str(seed), "--epochs", str(epochs)]
    command += [] if limit is None else ["--limit", str(limit)]
    ended = run_timed(command, dict(os.environ))
    result = json.loads(ended.stdout)
    # Scoring the validation and test photos apart is no part of the recipe.
    return Scored(result["validation_accuracy"], result["test_accuracy"], ended.wall_time_s - result["scoring_s"])


def measure(seed: int, repeat: int, epochs: int, limit: int | None) -> Pair:
    """Both programs, one after the other."""
    with tempfile.TemporaryDirectory(prefix="tledge-benchmark-") as folder:
        built, splits = measure_tledge(Path(folder), seed)
        return Pair(seed, repeat, built, measure_naive(splits, seed, epochs, limit))


def judge(pairs: list[Pair], min_ratio: float, max_accuracy_loss_points: float) -> Verdict:
    """Medians of wall times, means of test accuracies."""
    slow = statistics.median(pair.naive.wall_time_s for pair in pairs)
    fast = statistics.median(pair.tledge.wall_time_s for pair in pairs)
    return Verdict(
        ratio=slow / fast,
        min_ratio=min_ratio,
        tledge_test_accuracy=statistics.fmean(pair.tledge.test_accuracy for pair in pairs),
        naive_test_accuracy=statistics.fmean(pair.naive.test_accuracy for pair in pairs),
        max_accuracy_loss_points=max_accuracy_loss_points,
    )


def table(pairs: list[Pair], verdict: Verdict) -> Table:
    """One row a pair, and one over all."""
    shown = Table(title=f"tledge build and the naive recipe on {DATASET}, same split", box=None, header_style="bold")
    shown.add_column("seed")
    for name in ("validation %, tledge", "naive", "test %, tledge", "naive", "wall s, tledge", "naive", "ratio"):
        shown.add_column(name, justify="right")

    def cells(tledge: Scored, naive: Scored, ratio: float) -> list[str]:
        both = (tledge, naive)
        return [
            *(f"{100 * scored.validation_accuracy:.2f}" for scored in both),
            *(f"{100 * scored.test_accuracy:.2f}" for scored in both),
            *(f"{scored.wall_time_s:.1f}" for scored in both),
            f"{ratio:.2f}",
        ]

    for pair in pairs:
        shown.add_row(str(pair.seed), *cells(pair.tledge, pair.naive, pair.ratio))
    if len(pairs) > 1:
        shown.add_section()
        whole = [_summary([getattr(pair, name) for pair in pairs]) for name in ("tledge", "naive")]
        shown.add_row("mean; median s", *cells(whole[0], whole[1], verdict.ratio))
    return shown


def _summary(scored: list[Scored]) -> Scored:
    return Scored(
        statistics.fmean(one.validation_accuracy for one in scored),
        statistics.fmean(one.test_accuracy for one in scored),
        statistics.median(one.wall_time_s for one in scored),
    )


def as_json(pairs: list[Pair], verdict: Verdict, load: float) -> dict[str, Any]:
    """Everything that was measured, and where."""
    from tledge.machine import this_machine

    return {
        "dataset": DATASET,
        "machine": this_machine().as_json(),
        "load_average_before": load,
        "runs": [{**asdict(pair), "ratio": pair.ratio} for pair in pairs],
        "verdict": {**asdict(verdict), "problems": verdict.problems, "holds": not verdict.problems},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="tledge build against the naive recipe on tf_flowers.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="one run of both a seed")
    parser.add_argument("--repeats", type=int, default=1, help="runs of both a seed")
    parser.add_argument("--min-ratio", type=float, default=6.0, help="of the median wall times")
    parser.add_argument("--max-accuracy-loss-points", type=float, default=0.0, help="of the mean test accuracies")
    parser.add_argument("--naive-epochs", type=int, default=6, help="other than 6: not the naive recipe")
    parser.add_argument("--naive-limit", type=int, help="photos of each split: to try the program out")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    options = parser.parse_args()

    console = Console(stderr=True, soft_wrap=True, highlight=False)
    load = load_average()
    warning = busy_warning(load)
    if warning:
        console.print(f"warning: {warning}")
    if options.naive_epochs != 6 or options.naive_limit is not None:
        console.print("warning: the naive recipe was shortened: neither its accuracy nor the ratio means anything")
    pairs = []
    for repeat in range(options.repeats):
        for seed in options.seeds:
            pair = measure(seed, repeat, options.naive_epochs, options.naive_limit)
            console.print(f"seed {seed}: {pair.tledge.wall_time_s:.1f} s and {pair.naive.wall_time_s:.1f} s")
            pairs.append(pair)
    verdict = judge(pairs, options.min_ratio, options.max_accuracy_loss_points)
    if options.json:
        print(json.dumps(as_json(pairs, verdict, load), indent=2))
    else:
        Console(width=120).print(table(pairs, verdict))
        over = f"median wall time and mean test accuracy over {len(pairs)} run{'s' if len(pairs) > 1 else ''} of each"
        print(f"{over}: {'; '.join(verdict.problems) or 'the claim holds'}")
    sys.exit(1 if verdict.problems else 0)


if __name__ == "__main__":
    main()
