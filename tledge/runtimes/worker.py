"""The small program that runs one artifact in its own process: ``python -m tledge.runtimes.worker JOB PARENT_PID``.

It reads a JSON job, runs every photo once after a warm-up, timing the very call whose answer counts,
and writes a JSON result and the outputs. It needs Python, NumPy and one runtime; no TensorFlow. An
artifact may be hostile, so the process limits its own memory and file sizes, and dies with its parent.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from tledge.runtimes import runtime

MEMORY_LIMIT_BYTES = 8 * 2**30
FILE_LIMIT_BYTES = 2 * 2**30


@dataclass(frozen=True)
class Job:
    """What to run. ``pixels``: a raw file of uint8 rows (N, S, S, 3); ``outputs``: where float32 (N, C) goes as .npy."""

    artifact: str
    runtime: str
    num_threads: int
    pixels: str
    num_photos: int
    input_size: int
    warmup_runs: int
    min_timed_runs: int
    outputs: str
    result: str


@dataclass(frozen=True)
class Result:
    """What was measured. ``latencies_ns``: one an inference, in order."""

    load_ns: int
    latencies_ns: list[int]
    peak_memory_bytes: int


def run(job: Job) -> Result:
    """Load, warm up, run every photo, and repeat photos until ``min_timed_runs`` inferences were timed."""
    size = job.input_size
    started = time.perf_counter_ns()
    session = runtime(job.runtime).load(Path(job.artifact).read_bytes(), job.num_threads)
    load_ns = time.perf_counter_ns() - started
    outputs, latencies_ns = [], []
    row_bytes = size * size * 3
    with Path(job.pixels).open("rb") as file:
        # Photo by photo: mapping the file would count its pages into the peak memory.
        def photo(number: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
            file.seek(number % job.num_photos * row_bytes)
            return np.frombuffer(file.read(row_bytes), np.uint8).reshape(1, size, size, 3)

        for number in range(job.warmup_runs):
            session.predict(photo(number))
        for number in range(max(job.num_photos, job.min_timed_runs)):
            pixels = photo(number)
            began = time.perf_counter_ns()
            output = session.predict(pixels)
            latencies_ns.append(time.perf_counter_ns() - began)
            if number < job.num_photos:
                outputs.append(output)
    with Path(job.outputs).open("wb") as out:
        np.save(out, np.stack(outputs))
    return Result(load_ns, latencies_ns, peak_memory_bytes())


def peak_memory_bytes() -> int:
    """Peak resident memory of this process.

    Linux keeps it in VmHWM; its ``ru_maxrss`` would also hold the peak of the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def confine() -> None:
    """Limit what a hostile artifact could take."""
    import resource

    for limit, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, MEMORY_LIMIT_BYTES),
        (resource.RLIMIT_FSIZE, FILE_LIMIT_BYTES),
    ):
        _, hard = resource.getrlimit(limit)
        resource.setrlimit(limit, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def die_with_parent(parent_pid: int) -> None:
    """Ask Linux to kill this process when its parent dies, however that happens."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent_pid:  # it died while this process started
            sys.exit(1)


def main() -> None:
    job = Job(**json.loads(Path(sys.argv[1]).read_text()))
    die_with_parent(int(sys.argv[2]))
    confine()
    Path(job.result).write_text(json.dumps(asdict(run(job))))


if __name__ == "__main__":
    main()
