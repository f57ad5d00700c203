"""Formats converted at once against one after another, on one run.

    python benchmarks/exports.py artifacts/flowers -- --format all

``tledge export`` runs as a user runs it, with ``--jobs 1`` and with ``--jobs`` of --at-once in turns, on copies of the run, with
the options after ``--`` (``--format all`` where there are none). It prints one JSON object. Exit code 1 where the files differ,
or the ratio of the median wall times is above --max-ratio.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from common import begun, parsed, project_environment, run_timed


def export(run: Path, jobs: int, others: list[str]) -> tuple[float, dict[str, str]]:
    """Wall time in seconds, and the hash of every file by its format."""
    with tempfile.TemporaryDirectory(prefix="tledge-benchmark-") as folder:
        shutil.copytree(run, Path(folder, run.name), ignore=shutil.ignore_patterns("exports", "verification"))
        options = ["--jobs", str(jobs), "--run", run.name, "--artifacts", folder, "--json"]
        ended = run_timed([sys.executable, "-m", "tledge", "export", *others, *options], project_environment())
    return ended.wall_time_s, {one["format"]: one["sha256"] for one in json.loads(ended.stdout)["exports"]}


def main() -> None:
    parser = argparse.ArgumentParser(description="Formats converted at once against one after another.")
    parser.add_argument("run", type=Path, help="folder that tledge build wrote")
    parser.add_argument("--at-once", type=int, default=2, metavar="JOBS")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--max-ratio", type=float, default=0.6)
    options, others = parsed(parser)
    _, load = begun()
    seconds: dict[int, list[float]] = {1: [], options.at_once: []}
    found = []
    for _ in range(options.rounds):
        for jobs, times in seconds.items():
            taken, files = export(options.run, jobs, others or ["--format", "all"])
            times.append(round(taken, 1))
            found.append(files)
    ratio = statistics.median(seconds[options.at_once]) / statistics.median(seconds[1])
    is_same = all(files == found[0] for files in found)
    from tledge.machine import this_machine

    result = {
        "formats": list(found[0]),
        "same_files": is_same,
        "wall_times_s_by_jobs": seconds,
        "ratio": round(ratio, 3),
    }
    print(json.dumps({"machine": this_machine().as_json(), "load_average_before": load, **result}, indent=2))
    sys.exit(not is_same or not ratio <= options.max_ratio)


if __name__ == "__main__":
    main()
