"""tledge verify --accuracy-only against the bare loop of invoke() over the same photos.

    python benchmarks/verify.py --run flowers

Takes a run with its artifacts exported. The bare loop is what anybody would write: every artifact is loaded once, its
photos lie decoded in memory, and one thread answers them one by one. It is spread over the cores: a process a core, each
with every artifact and its share of the photos, all started together; the time is that of the slowest. No verification
can go below it. (One such loop alone, its time divided by the number of cores, is printed too: cores that share a
memory bus or an execution unit can't keep that up together.) The command is timed whole: Python's start, reading the
run, processes, statistics, reports.
Two ratios are printed. That of the pass is judged: laying out the photos, starting a process for every artifact, loading
it, answering every photo. That of the whole command holds what does not grow with the photos too. Exit code 1 where the
pass is over --max-ratio.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import busy_warning, load_average, project_environment, run_timed


def bare_loop_s(run: Path, artifacts: list[Path], num_processes: int) -> tuple[float, int]:
    """Seconds of the loops over all artifacts, loading not counted, in so many processes; and the number of photos."""
    context = multiprocessing.get_context("spawn")
    start, seconds = context.Barrier(num_processes), context.Queue()
    processes = [
        context.Process(target=_loop, args=(run, artifacts, number, num_processes, start, seconds))
        for number in range(num_processes)
    ]
    for process in processes:
        process.start()
    found = [seconds.get() for _ in processes]
    for process in processes:
        process.join()
    return max(taken for taken, _ in found), sum(count for _, count in found)


def _loop(run: Path, artifacts: list[Path], number: int, num_processes: int, start: Any, seconds: Any) -> None:
    from tledge.datasets.run_photos import load_split
    from tledge.progress import Silent
    from tledge.run import open_run
    from tledge.runtimes import runtimes_for

    photos = load_split(open_run(run.parent, run.name), "test", Silent())
    pixels = np.ascontiguousarray(photos.pixels[number::num_processes])[:, None]
    total = 0.0
    for path in artifacts:
        session = runtimes_for(path)[0].load(path.read_bytes(), 1, runtimes_for(path)[0].kernels[0])
        session.predict(pixels[0])
        start.wait()  # so that all cores are at work while any is timed
        started = time.perf_counter()
        for photo in pixels:
            session.predict(photo)
        total += time.perf_counter() - started
    seconds.put((total, len(pixels)))


def main() -> None:
    parser = argparse.ArgumentParser(description="tledge verify --accuracy-only against a bare loop of invoke().")
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"), help="folder of the runs")
    parser.add_argument("--run", required=True)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--max-ratio", type=float, default=1.15)
    options = parser.parse_args()
    from tledge.machine import this_machine, usable_cores

    load = load_average()
    warning = busy_warning(load)
    if warning:
        print(f"warning: {warning}", file=sys.stderr)
    run = options.artifacts / options.run
    artifacts = sorted(path for path in run.glob("exports/*/model.*"))
    command = [sys.executable, "-m", "tledge", "verify", "--accuracy-only", "--json"]
    command += ["--run", options.run, "--artifacts", str(options.artifacts), "--max-drop", "100"]
    bare, alone, passes, whole, parts = [], [], [], [], {}
    num_photos = 0
    for _ in range(options.repeats):
        seconds, num_photos = bare_loop_s(run, artifacts, usable_cores())
        bare.append(seconds)
        alone.append(bare_loop_s(run, artifacts, 1)[0] / usable_cores())
        ended = run_timed(command, project_environment())
        whole.append(ended.wall_time_s)
        parts = json.loads(ended.stdout)["wall_times_s"]
        passes.append(parts["laying out photos"] + parts["answers"])
    ratio = statistics.median(passes) / statistics.median(bare)
    result = {
        "num_artifacts": len(artifacts),
        "num_photos": num_photos,
        "bare_loop_over_cores_s": [round(value, 2) for value in bare],
        "one_bare_loop_by_cores_s": [round(value, 2) for value in alone],
        "pass_s": [round(value, 2) for value in passes],
        "whole_command_s": [round(value, 2) for value in whole],
        "parts_of_the_last_s": parts,
        "pass_ratio": round(ratio, 3),
        "whole_command_ratio": round(statistics.median(whole) / statistics.median(bare), 3),
        "max_ratio": options.max_ratio,
        "machine": this_machine().as_json(),
        "load_average_before": load,
    }
    print(json.dumps(result, indent=2))
    sys.exit(ratio > options.max_ratio)


if __name__ == "__main__":
    main()
