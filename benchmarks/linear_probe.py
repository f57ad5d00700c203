"""Linear-probe accuracy: how well a head on a backbone's frozen features does, by data set.

    python benchmarks/linear_probe.py --backbone bundled --dataset digits --dataset tf_flowers --seeds 0 1 2

Every number is a run of ``tledge.build`` with the default recipe. A seed sets the split and the head's training,
so the spread over seeds holds both. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from common import REPOSITORY


def probe(backbone: str, dataset: str, seeds: Sequence[int]) -> str:
    """Build once a seed; a row of the table."""
    import tledge

    validation, test = [], []
    with tempfile.TemporaryDirectory(prefix="tledge-benchmark-") as folder:
        for seed in seeds:
            run = tledge.build(dataset, backbone=backbone, seed=seed, run=f"seed-{seed}", artifacts=Path(folder))
            validation.append(100 * run.manifest.metrics["validation"].accuracy)
            test.append(100 * run.manifest.metrics["test"].accuracy)
    size = run.manifest.backbone.input_size
    photos = run.manifest.dataset.num_photos
    cells = [run.manifest.dataset.name, str(photos), str(size), _spread(validation), _spread(test)]
    return f"| {' | '.join(cells)} |"


def _spread(values: list[float]) -> str:
    """The mean, with the lowest and highest where there are several."""
    mean = f"{statistics.fmean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.1f} to {max(values):.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description="Linear-probe accuracy of a backbone.")
    parser.add_argument("--backbone", default="bundled", help="as tledge build takes it")
    parser.add_argument("--dataset", action="append", help="as tledge build takes it; may be repeated [digits]")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()

    seeds = list(dict.fromkeys(options.seeds))
    how = f"mean of {len(seeds)} seeds (lowest to highest)" if len(seeds) > 1 else f"seed {seeds[0]}"
    print(f"Linear probe of backbone `{options.backbone}`, top-1 accuracy in %, {how}:\n")
    print("| data set | photos | input size | validation | test |\n|---|---:|---:|---:|---:|")
    for dataset in options.dataset or ["digits"]:
        print(probe(options.backbone, dataset, seeds), flush=True)


if __name__ == "__main__":
    import sys

    sys.path.insert(0, str(REPOSITORY))  # this checkout's tledge, wherever another is installed
    main()
