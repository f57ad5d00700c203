"""tledge build against the naive recipe, on the same photos: accuracy and wall time.

    python benchmarks/build.py --recipe finetune --seeds 0 1 2

For every seed, ``tledge build`` runs as a user runs it, in its own process with an empty cache; then
naive_transfer.py trains on the split that it chose and is scored on the same photos. Wall times are of whole
processes, imports included. Needs tf_flowers and the Hub module (TFDS_DATA_DIR, TFHUB_CACHE_DIR) or a network.

``head`` stands against the frozen backbone with its six epochs. ``finetune`` and ``best`` stand against the whole
graph, trained until it is as good: its time ends with the first epoch whose validation accuracy is that of tledge's
run. Where no epoch's is, its time is that of all epochs, and the ratio a lower bound, called "at least". Its accuracies
are those of the epoch of best validation accuracy. To stop at the first epoch that reaches a mark, be it by luck, is to
the naive recipe's advantage.

The claim: the median wall time of the naive recipe over all runs is at least ``--min-ratio`` times that of tledge,
and the mean test accuracy of tledge over all runs is at most ``--max-accuracy-loss-points`` below the naive one's.
Exit code 1 where it does not hold, or where a lower bound does not show it.
"""

from __future__ import annotations

import argparse
import json
import math
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
HEAD = "head"


@dataclass(frozen=True)
class Claim:
    """What is claimed of a recipe. ``naive_epochs``: of the naive recipe; where it trains the whole graph, at most."""

    min_ratio: float
    naive_epochs: int


CLAIMS = {HEAD: Claim(10, 6), "finetune": Claim(4, 12), "best": Claim(1, 14)}


@dataclass(frozen=True)
class Scored:
    """One program's outcome. Accuracies are fractions; ``wall_time_s`` is of the whole process."""

    validation_accuracy: float
    test_accuracy: float
    wall_time_s: float


@dataclass(frozen=True)
class Pair:
    """Both programs on one split.

    ``is_lower_bound``: whether the naive recipe was to become as good as tledge and did not, so that its time is too
    short. ``naive_history``: accuracy and time after each of its epochs.
    """

    seed: int
    repeat: int
    tledge: Scored
    naive: Scored
    is_lower_bound: bool
    naive_history: list[dict[str, float]]

    @property
    def ratio(self) -> float:
        """How many times longer the naive recipe took, at least."""
        return self.naive.wall_time_s / self.tledge.wall_time_s


@dataclass(frozen=True)
class Verdict:
    """The claim against the measurement. ``ratio``: of the median wall times; accuracies: means over the runs."""

    ratio: float
    is_lower_bound: bool
    min_ratio: float
    tledge_test_accuracy: float
    naive_test_accuracy: float
    max_accuracy_loss_points: float

    @property
    def problems(self) -> list[str]:
        """In what the claim does not hold, or is not shown; empty where it holds."""
        found = []
        if self.ratio < self.min_ratio:
            short = f"below {self.min_ratio:g}"
            if self.is_lower_bound:
                short = f"which does not show {self.min_ratio:g}: give the naive recipe more --naive-epochs"
            found.append(f"the ratio of wall times is {_ratio(self.ratio, self.is_lower_bound)}, {short}")
        loss_points = 100 * (self.naive_test_accuracy - self.tledge_test_accuracy)
        if loss_points > self.max_accuracy_loss_points:
            allowed = f", and {self.max_accuracy_loss_points:g} are allowed" if self.max_accuracy_loss_points else ""
            found.append(f"test accuracy is {loss_points:.2f} points lower{allowed}")
        return found


def measure_tledge(folder: Path, recipe: str, seed: int) -> tuple[Scored, Path]:
    """Build in ``folder`` with an empty cache; also the path of the run's splits.csv."""
    artifacts = folder / "artifacts"
    command = [sys.executable, "-m", "tledge", "build", "--dataset", DATASET, "--recipe", recipe, "--seed", str(seed)]
    command += ["--run", "flowers", "--artifacts", str(artifacts)]
    ended = run_timed(command, project_environment(TLEDGE_CACHE_DIR=str(folder / "cache")))
    manifest = json.loads((artifacts / "flowers" / "manifest.json").read_text())
    validation, test = (manifest["metrics"][split]["accuracy"] for split in ("validation", "test"))
    return Scored(validation, test, ended.wall_time_s), artifacts / "flowers" / "splits.csv"


def measure_naive(
    splits: Path, seed: int, epochs: int, limit: int | None, until_accuracy: float | None
) -> tuple[Scored, dict[str, Any]]:
    """Train the naive recipe on the split of a run; also everything that it says of itself.

    ``until_accuracy``: validation accuracy, a fraction, to which the whole graph is trained; None: the head alone.
    """
    program = Path(__file__).with_name("naive_transfer.py")
    command = [sys.executable, str(program), "--dataset", DATASET, "--splits", str(splits)]
    command += ["--seed", str(seed), "--epochs", str(epochs)]
    command += [] if until_accuracy is None else ["--whole", "--until-accuracy", str(until_accuracy)]
    command += [] if limit is None else ["--limit", str(limit)]
    ended = run_timed(command, dict(os.environ))
    result = json.loads(ended.stdout)
    # Scoring the validation and test photos apart is no part of the recipe.
    seconds = ended.wall_time_s - result["scoring_s"]
    return Scored(result["validation_accuracy"], result["test_accuracy"], seconds), result


def measure(recipe: str, seed: int, repeat: int, epochs: int, limit: int | None) -> Pair:
    """Both programs, one after the other."""
    with tempfile.TemporaryDirectory(prefix="tledge-benchmark-") as folder:
        built, splits = measure_tledge(Path(folder), recipe, seed)
        until_accuracy = None if recipe == HEAD else built.validation_accuracy
        naive, result = measure_naive(splits, seed, epochs, limit, until_accuracy)
    is_lower_bound = until_accuracy is not None and not result["is_reached"]
    return Pair(seed, repeat, built, naive, is_lower_bound, result["history"])


def judge(pairs: list[Pair], min_ratio: float, max_accuracy_loss_points: float) -> Verdict:
    """Medians of wall times, means of test accuracies."""
    slow = statistics.median(pair.naive.wall_time_s for pair in pairs)
    # A run that never became as good may need any time: does the median depend on it?
    slowest = statistics.median(math.inf if pair.is_lower_bound else pair.naive.wall_time_s for pair in pairs)
    fast = statistics.median(pair.tledge.wall_time_s for pair in pairs)
    return Verdict(
        ratio=slow / fast,
        is_lower_bound=slowest > slow,
        min_ratio=min_ratio,
        tledge_test_accuracy=statistics.fmean(pair.tledge.test_accuracy for pair in pairs),
        naive_test_accuracy=statistics.fmean(pair.naive.test_accuracy for pair in pairs),
        max_accuracy_loss_points=max_accuracy_loss_points,
    )


def table(recipe: str, pairs: list[Pair], verdict: Verdict) -> Table:
    """One row a pair, and one over all."""
    title = f"tledge build --recipe {recipe} and the naive recipe on {DATASET}, same split"
    shown = Table(title=title, box=None, header_style="bold")
    shown.add_column("seed")
    names = ("validation %, tledge", "naive", "test %, tledge", "naive", "epochs, naive", "wall s, tledge", "naive")
    for name in (*names, "ratio"):
        shown.add_column(name, justify="right")

    def cells(tledge: Scored, naive: Scored, epochs: str, ratio: str) -> list[str]:
        both = (tledge, naive)
        return [
            *(f"{100 * scored.validation_accuracy:.2f}" for scored in both),
            *(f"{100 * scored.test_accuracy:.2f}" for scored in both),
            epochs,
            *(f"{scored.wall_time_s:.1f}" for scored in both),
            ratio,
        ]

    for pair in pairs:
        ratio = _ratio(pair.ratio, pair.is_lower_bound)
        shown.add_row(str(pair.seed), *cells(pair.tledge, pair.naive, str(len(pair.naive_history)), ratio))
    if len(pairs) > 1:
        shown.add_section()
        whole = [_summary([getattr(pair, name) for pair in pairs]) for name in ("tledge", "naive")]
        shown.add_row("mean; median s", *cells(*whole, "", _ratio(verdict.ratio, verdict.is_lower_bound)))
    return shown


def _ratio(ratio: float, is_lower_bound: bool) -> str:
    return f"at least {ratio:.2f}" if is_lower_bound else f"{ratio:.2f}"


def _summary(scored: list[Scored]) -> Scored:
    return Scored(
        statistics.fmean(one.validation_accuracy for one in scored),
        statistics.fmean(one.test_accuracy for one in scored),
        statistics.median(one.wall_time_s for one in scored),
    )


def as_json(recipe: str, pairs: list[Pair], verdict: Verdict, load: float) -> dict[str, Any]:
    """Everything that was measured, and where."""
    from tledge.machine import this_machine

    return {
        "dataset": DATASET,
        "recipe": recipe,
        "machine": this_machine().as_json(),
        "load_average_before": load,
        "runs": [{**asdict(pair), "ratio": pair.ratio} for pair in pairs],
        "verdict": {**asdict(verdict), "problems": verdict.problems, "holds": not verdict.problems},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="tledge build against the naive recipe on tf_flowers.")
    parser.add_argument("--recipe", choices=CLAIMS, default=HEAD, help="of tledge build")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="one run of both a seed")
    parser.add_argument("--repeats", type=int, default=1, help="runs of both a seed")
    ratios = ", ".join(f"{claim.min_ratio:g} for {name}" for name, claim in CLAIMS.items())
    parser.add_argument("--min-ratio", type=float, help=f"of the median wall times [{ratios}]")
    parser.add_argument("--max-accuracy-loss-points", type=float, default=0.0, help="of the mean test accuracies")
    epochs = ", ".join(f"{claim.naive_epochs} for {name}" for name, claim in CLAIMS.items())
    parser.add_argument("--naive-epochs", type=int, help=f"of the whole graph: at most [{epochs}]")
    parser.add_argument("--naive-limit", type=int, help="photos of each split: to try the program out")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    options = parser.parse_args()
    claim = CLAIMS[options.recipe]
    min_ratio = claim.min_ratio if options.min_ratio is None else options.min_ratio
    naive_epochs = claim.naive_epochs if options.naive_epochs is None else options.naive_epochs

    console = Console(stderr=True, soft_wrap=True, highlight=False)
    load = load_average()
    warning = busy_warning(load)
    if warning:
        console.print(f"warning: {warning}")
    # More epochs make the head's recipe another one; the whole graph's ends by itself when it is good enough.
    is_other = naive_epochs < claim.naive_epochs or (options.recipe == HEAD and naive_epochs > claim.naive_epochs)
    if is_other or options.naive_limit is not None:
        console.print("warning: the naive recipe is not the one of the claim: neither accuracy nor ratio shows it")
    pairs = []
    for repeat in range(options.repeats):
        for seed in options.seeds:
            pair = measure(options.recipe, seed, repeat, naive_epochs, options.naive_limit)
            bound = "; never as good" if pair.is_lower_bound else ""
            console.print(f"seed {seed}: {pair.tledge.wall_time_s:.1f} s and {pair.naive.wall_time_s:.1f} s{bound}")
            pairs.append(pair)
    verdict = judge(pairs, min_ratio, options.max_accuracy_loss_points)
    if options.json:
        print(json.dumps(as_json(options.recipe, pairs, verdict, load), indent=2))
    else:
        Console(width=120).print(table(options.recipe, pairs, verdict))
        over = f"median wall time and mean test accuracy over {len(pairs)} run{'s' if len(pairs) > 1 else ''} of each"
        print(f"{over}: {'; '.join(verdict.problems) or 'the claim holds'}")
    sys.exit(1 if verdict.problems else 0)


if __name__ == "__main__":
    main()
