"""This small program runs one artifact in its own process: ``python -m tledge.workers.worker JOB PARENT_PID``.

It reads a job from a JSON file, then commands as lines of JSON on its standard input. It answers each with a line of
JSON. It needs Python, NumPy and one runtime, but no TensorFlow. An artifact may be hostile, so the process limits its
own memory and files, and ends with its parent.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.confinement import confine, die_with_parent
from tledge.runtimes import Session, runtime
from tledge.workers.adapter import Adapter

WARMUP_BLOCK_RUNS = 10
WARMUP_TOLERANCE = 0.02  # The latency has settled when the medians of three blocks differ by no more than this share.
_REFERENCE_RUNS = 5
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Job:
    """A job says what a worker runs, on which photos, and how.

    Attributes:
        artifact: path of the file, or of the original's folder.
        runtime: name of the runtime.
        kernels: one of the runtime's sets of kernels; empty for the deployed one.
        cores: cores that the process stays on; empty for any.
        pixels: path of a raw file of uint8 rows (N, S, S, 3).
        input_size: side of the input, S, in pixels.
        outputs: path of the file to write, raw float32 (N, C).
        adapters: fields of each :class:`Adapter` of a file from elsewhere; empty for an artifact of tledge. Every photo is
            answered with each of them, all photos with the first one first. The first one is timed.
    """

    artifact: str
    runtime: str
    kernels: str
    num_threads: int
    cores: list[int]
    pixels: str
    num_photos: int
    input_size: int
    outputs: str
    adapters: list[dict[str, Any]] = field(default_factory=list)


class Worker:
    """A worker runs commands, such as load or time, on one artifact. Each command returns plain JSON values."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._next = 0  # This is the number of the photo of the next timed inference.
        self._session: Session | None = None
        self._adapters = [Adapter.of_json(fields) for fields in job.adapters]
        self._pixels = Path(job.pixels).open("rb")  # noqa: SIM115 - open as long as the process

    def commands(self) -> dict[str, Callable[..., dict[str, Any]]]:
        """Return the functions that a line on standard input can call, by the name of the command."""
        return {
            "load": self.load,
            "answer": self.answer,
            "warm_up": self.warm_up,
            "time": self.time,
            "end": self.end,
        }

    def opener(self) -> Callable[[], Session]:
        """Find the job's runtime, and return what loads the artifact into it."""
        chosen = runtime(self._job.runtime)
        kernels = self._job.kernels or chosen.kernels[0]
        return lambda: chosen.load(Path(self._job.artifact).read_bytes(), self._job.num_threads, kernels)

    def load(self) -> dict[str, Any]:
        """Load the artifact, and time the loading and the first inference, which may still prepare things."""
        # Every installed distribution is asked for runtimes. That takes longer than loading a small file, and is no part of it.
        opener = self.opener()
        started = time.perf_counter_ns()
        self._session = opener()
        loaded = time.perf_counter_ns()
        photo = self._input(0)
        began = time.perf_counter_ns()
        self._session.predict(photo)
        return {"load_ns": loaded - started, "first_inference_ns": time.perf_counter_ns() - began}

    def answer(self) -> dict[str, Any]:
        """Write the outputs of every photo to ``job.outputs`` as they come, so memory does not grow with the photos."""
        width = 0
        with Path(self._job.outputs).open("wb") as out:
            for answers in self.answers():
                width = answers.shape[1]
                out.write(np.ascontiguousarray(answers, np.float32).tobytes())
        return {"num_outputs": width}

    def answers(self) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the outputs of all photos in their order, as blocks of float32 (n, C)."""
        assert self._session is not None
        for adapter in self._adapters:
            for number in range(self._job.num_photos):
                yield adapter.output(self._session.predict(adapter.input(self._photo(number))))[None]
        if not self._adapters:
            for number in range(self._job.num_photos):
                yield self._session.predict(self._photo(number))[None]

    def warm_up(self, limit: int) -> dict[str, Any]:
        """Run until the medians of three blocks agree to ``WARMUP_TOLERANCE``, or ``limit`` runs were made."""
        medians: list[float] = []
        while len(medians) * WARMUP_BLOCK_RUNS < limit:
            medians.append(statistics.median(self._timed(WARMUP_BLOCK_RUNS)))
            last = medians[-3:]
            if len(last) == 3 and max(last) <= min(last) * (1 + WARMUP_TOLERANCE):
                return {"runs": len(medians) * WARMUP_BLOCK_RUNS, "is_stable": True, "median_ns": round(medians[-1])}
        return {"runs": len(medians) * WARMUP_BLOCK_RUNS, "is_stable": False, "median_ns": round(medians[-1])}

    def time(self, runs: int) -> dict[str, Any]:
        """Return the latencies of the next ``runs`` photos, in order, and of the reference work, in nanoseconds."""
        return {"latencies_ns": self._timed(runs), "reference_ns": reference_ns()}

    def end(self) -> dict[str, Any]:
        """Return the peak memory of the process, in bytes."""
        return {"peak_memory_bytes": peak_memory_bytes()}

    def _timed(self, runs: int) -> list[int]:
        assert self._session is not None
        latencies_ns = []
        for _ in range(runs):
            photo = self._input(self._next)
            self._next += 1
            began = time.perf_counter_ns()
            self._session.predict(photo)
            latencies_ns.append(time.perf_counter_ns() - began)
        return latencies_ns

    def _input(self, number: int) -> npt.NDArray[Any]:
        """Read a photo as the model takes it. This is never timed, since an app prepares its input by code of its own."""
        photo = self._photo(number)
        return self._adapters[0].input(photo) if self._adapters else photo

    def _photo(self, number: int) -> Pixels:
        return self.photos(number % self._job.num_photos, 1)

    def photos(self, first: int, count: int) -> Pixels:
        """Read photos from the file as uint8 (count, S, S, 3); fewer at its end.

        The file is not mapped: its pages would count into the peak memory.
        """
        size = self._job.input_size
        row_bytes = size * size * 3
        self._pixels.seek(first * row_bytes)
        data = self._pixels.read(min(count, self._job.num_photos - first) * row_bytes)
        return np.frombuffer(data, np.uint8).reshape(-1, size, size, 3)


def reference_ns() -> int:
    """Return how long a fixed piece of work takes now, in nanoseconds: the median of a few runs.

    The work multiplies small float32 matrices of 1 MB in all on one thread, much as a small network does. It takes
    longer where the clock rate is lower or where others use the core or its caches. The matrices are made anew each
    time, so that they are no lasting part of the process's memory.
    """
    left, right = np.full((64, 16, 64), 0.5, np.float32), np.full((64, 64, 64), 0.5, np.float32)
    out = np.empty((64, 16, 64), np.float32)
    times = []
    for number in range(_REFERENCE_RUNS + 1):
        began = time.perf_counter_ns()
        np.matmul(left, right, out=out)
        if number:  # the first one brings the matrices into the caches
            times.append(time.perf_counter_ns() - began)
    return round(statistics.median(times))


def peak_memory_bytes() -> int:
    """Return the peak resident memory of this process, in bytes.

    Linux keeps it in VmHWM. Its ``ru_maxrss`` would include the peak of the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def serve(make: Callable[[Job], Worker]) -> None:
    """Read the job that the command line names, then do the commands on standard input until it ends."""
    job = Job(**json.loads(Path(sys.argv[1]).read_text()))
    die_with_parent(int(sys.argv[2]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the parent ends this process
    # A native library that prints must not break into the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    if job.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, job.cores)  # before a runtime makes its threads, which inherit it
    outputs = Path(job.outputs)
    outputs.touch()  # Once the process is confined it can make no file.
    # Libraries look for a folder of temporary files when they are imported.
    confine([outputs, Path(tempfile.gettempdir())])
    commands = make(job).commands()
    for line in sys.stdin:
        command = json.loads(line)
        answers.write(json.dumps(commands[command.pop("do")](**command)) + "\n")


def main() -> None:
    serve(Worker)


if __name__ == "__main__":
    main()
