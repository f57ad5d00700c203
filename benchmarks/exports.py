"""Formats converted at once against one after another, on one run.

    python benchmarks/exports.py artifacts/flowers -- --format all

``tledge export`` runs as a user runs it, with ``--jobs 1`` and with ``--jobs`` of --at-once in turns, on copies of the run, with
the options after ``--`` (``--format all`` where there are none). It prints one JSON object; its ``least_ratio`` is what the ratio
would be if all cores were busy all the time with what one job after another computes. Exit code 1 where the files differ, or the
ratio of the median wall times is above --max-ratio.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from common import Finished, begun, parsed, project_environment, run_timed


def export(run: Path, jobs: int, others: list[str]) -> tuple[Finished, dict[str, str]]:
    """How long it took, and the hash of every file by its format."""
    with tempfile.TemporaryDirectory(prefix="tledge-benchmark-") as folder:
        shutil.copytree(run, Path(folder, run.name), ignore=shutil.ignore_patterns("exports", "verification"))
        options = ["--jobs", str(jobs), "--run", run.name, "--artifacts", folder, "--json"]
        ended = run_timed([sys.executable, "-m", "tledge", "export", *others, *options], project_environment())
    return ended, {one["format"]: one["sha256"] for one in json.loads(ended.stdout)["exports"]}


def main() -> None:
    parser = argparse.ArgumentParser(description="Formats converted at once against one after another.")
    parser.add_argument("run", type=Path, help="folder that tledge build wrote")
    parser.add_argument("--at-once", type=int, default=2, metavar="JOBS")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--max-ratio", type=float, default=0.6)
    options, others = parsed(parser)
    _, load = begun()
    tried = (1, options.at_once)
    wall_times_s: dict[int, list[float]] = {jobs: [] for jobs in tried}
    cpu_times_s: dict[int, list[float]] = {jobs: [] for jobs in tried}
    found = []
    for _ in range(options.rounds):
        for jobs in tried:
            ended, files = export(options.run, jobs, others or ["--format", "all"])
            wall_times_s[jobs].append(round(ended.wall_time_s, 1))
            cpu_times_s[jobs].append(round(ended.cpu_time_s, 1))
            found.append(files)
    one_after_another_s = statistics.median(wall_times_s[1])
    ratio = statistics.median(wall_times_s[options.at_once]) / one_after_another_s
    is_same = all(files == found[0] for files in found)
    from tledge.machine import this_machine, usable_cores

    result = {
        "formats": list(found[0]),
        "same_files": is_same,
        "wall_times_s_by_jobs": wall_times_s,
        "cpu_times_s_by_jobs": cpu_times_s,
        "ratio": round(ratio, 3),
        "least_ratio": round(statistics.median(cpu_times_s[1]) / usable_cores() / one_after_another_s, 3),
    }
    print(json.dumps({"machine": this_machine().as_json(), "load_average_before": load, **result}, indent=2))
    sys.exit(not is_same or not ratio <= options.max_ratio)


if __name__ == "__main__":
    main()
