"""Run artifacts in processes of their own: answers side by side on the free cores, latencies one at a time in rounds."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.machine import usable_cores
from tledge.progress import Progress
from tledge.records import Latency, NoiseFloor
from tledge.runtimes.launch import ARTIFACT, WorkerFailed, WorkerProcess
from tledge.runtimes.worker import Job
from tledge.verification.latency import Rounds, Started, noise_floor, summarise

MB = 1_000_000
_MOST_ROUNDS = 4  # times the protocol's: a latency seldom falls to a quarter after its warm-up
Answers = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Task:
    """One file to run. ``kernels``: one of the runtime's sets; empty: the deployed one. ``module``: the worker program."""

    name: str
    artifact: Path
    runtime: str
    kernels: str = ""
    module: str = ARTIFACT


@dataclass(frozen=True)
class TimeLimits:
    """Seconds after which a process that gives no answer is ended."""

    start_s: float = 120.0
    photo_s: float = 2.0


@dataclass(frozen=True)
class Timed:
    """The latency of one task, and the most memory its process took."""

    latency: Latency
    peak_memory_mb: float


@dataclass(frozen=True)
class Timing:
    """All tasks of one thread count. ``floor`` is None where no task ran."""

    timed: dict[Task, Timed | WorkerFailed]
    floor: NoiseFloor | None


@dataclass(frozen=True)
class Bench:
    """Photos on disk for the workers: raw uint8 rows (N, S, S, 3)."""

    folder: Path
    pixels: Path
    num_photos: int
    input_size: int
    num_classes: int
    limits: TimeLimits

    def answers(
        self,
        tasks: Sequence[Task],
        progress: Progress,
        step: str,
        then: Callable[[Task, Answers | WorkerFailed], None] = lambda task, answers: None,
    ) -> dict[Task, Answers | WorkerFailed]:
        """Every task's outputs on all photos, float32 (N, C): a process each with one thread, as many as there are cores.

        They stay on the disk, as read-only memory maps. Tasks are started in their order: give the slowest first, so
        that the cores end together. ``then`` is called with each as it comes, from several threads.
        """
        running: set[WorkerProcess] = set()
        stopping = threading.Event()

        def work(task: Task) -> Answers | WorkerFailed:
            found = self._answer(task, running, stopping)
            if not stopping.is_set():
                then(task, found)
            advance(1)
            return found

        with progress.step(step, len(tasks)) as advance, ThreadPoolExecutor(usable_cores()) as pool:
            try:
                return dict(zip(tasks, pool.map(work, tasks), strict=True))
            except BaseException:  # Ctrl-C: the threads wait for processes, so those end first
                stopping.set()
                pool.shutdown(wait=False, cancel_futures=True)
                for process in list(running):
                    process.kill()
                raise

    def latencies(self, tasks: Sequence[Task], num_threads: int, rounds: Rounds, progress: Progress) -> Timing:
        """Time every task in interleaved rounds (A B C A B C), each in its own process on the same cores.

        The task that is fastest after its warm-up runs in a second process too, as the noise floor.
        """
        cores = pinned_cores(num_threads)
        failed: dict[Task, Timed | WorkerFailed] = {}
        step = f"latency, {num_threads} thread{'s' if num_threads > 1 else ''}"
        with contextlib.ExitStack() as stack, progress.step(step, (len(tasks) + 1) * (rounds.rounds + 1)) as advance:
            runners: list[_Runner] = []
            for task in tasks:
                runner = _Runner(task, stack.enter_context(self._process(task, num_threads, cores)), self.limits)
                if _survives(runner.start, rounds, failed, runner.task):
                    runners.append(runner)
                advance(1)
            if not runners:
                return Timing(failed, None)
            twin_of = min(runners, key=lambda runner: runner.median_ns)
            twin = _Runner(
                twin_of.task, stack.enter_context(self._process(twin_of.task, num_threads, cores)), self.limits
            )
            twin_lives = _survives(twin.start, rounds, {}, twin.task)
            advance(1)
            everyone = [*runners, *([twin] if twin_lives else [])]
            # A latency that fell since the warm-up asks for more rounds than were planned.
            for number in range(_MOST_ROUNDS * rounds.rounds):
                if number >= rounds.rounds and all(runner.has_enough(rounds) for runner in everyone):
                    break
                for runner in list(everyone):
                    if not _survives(runner.time, rounds, {} if runner is twin else failed, runner.task):
                        everyone.remove(runner)
                    advance(1)
            timed: dict[Task, Timed | WorkerFailed] = dict(failed)
            for runner in everyone:
                if runner is not twin and _survives(runner.end, rounds, timed, runner.task):
                    timed[runner.task] = Timed(runner.latency(num_threads), runner.peak_memory_mb)
            floor = None
            if twin_of in everyone and twin in everyone and isinstance(timed[twin_of.task], Timed):
                floor = noise_floor(twin_of.task.name, twin_of.latency(num_threads), twin.latency(num_threads))
        return Timing(timed, floor)

    def _process(self, task: Task, num_threads: int, cores: list[int]) -> WorkerProcess:
        job = Job(
            artifact=str(task.artifact.resolve()),
            runtime=task.runtime,
            kernels=task.kernels,
            num_threads=num_threads,
            cores=cores,
            pixels=str(self.pixels),
            num_photos=self.num_photos,
            input_size=self.input_size,
            outputs=tempfile.mktemp(dir=self.folder),  # noqa: S306 - in a folder of our own
        )
        return WorkerProcess(task.module, job, self.folder)

    def _answer(self, task: Task, running: set[WorkerProcess], stopping: threading.Event) -> Answers | WorkerFailed:
        process = self._process(task, 1, [])
        outputs = Path(process.job.outputs)
        try:
            with process:
                running.add(process)
                try:
                    if stopping.is_set():
                        return WorkerFailed("stopped")
                    process.call("load", self.limits.start_s)
                    timeout_s = self.limits.start_s + self.limits.photo_s * self.num_photos
                    (width,) = _counts(process.call("answer", timeout_s), "num_outputs")
                finally:
                    running.discard(process)
            if width != self.num_classes:  # seen before the file is read: it may be of any size
                return WorkerFailed(f"the output has {width} classes, the original {self.num_classes}")
            # Mapped when its process is gone: a file that is cut short under a map ends whoever reads it.
            if outputs.is_symlink() or not outputs.is_file() or outputs.stat().st_size != 4 * self.num_photos * width:
                return WorkerFailed("the process did not write an answer for every photo")
            return np.memmap(outputs, np.float32, "r", shape=(self.num_photos, width))
        except WorkerFailed as failure:
            return failure
        finally:
            outputs.unlink(missing_ok=True)  # a map keeps what it needs


def _survives(
    step: Callable[[Rounds], None], rounds: Rounds, failed: dict[Task, Timed | WorkerFailed], task: Task
) -> bool:
    """Do a step of a task; note its failure."""
    try:
        step(rounds)
    except WorkerFailed as failure:
        failed[task] = failure
        return False
    return True


class _Runner:
    """One process that is being timed."""

    def __init__(self, task: Task, process: WorkerProcess, limits: TimeLimits) -> None:
        self.task = task
        self._process, self._limits = process, limits
        self._rounds: list[list[int]] = []
        self.median_ns = self.peak_memory_mb = 0.0

    def start(self, rounds: Rounds) -> None:
        loaded = self._process.call("load", self._limits.start_s)
        limit = rounds.warmup_limit
        warm = self._process.call("warm_up", self._limits.start_s + self._limits.photo_s * limit, limit=limit)
        load_ns, first_inference_ns = _counts(loaded, "load_ns", "first_inference_ns")
        runs, median_ns = _counts(warm, "runs", "median_ns")
        self._started = Started(load_ns, first_inference_ns, runs, warm.get("is_stable") is True)
        self.median_ns = float(median_ns)

    def time(self, rounds: Rounds) -> None:
        runs = rounds.runs(self.median_ns)
        timeout_s = self._limits.start_s + self._limits.photo_s * runs
        latencies_ns = self._process.call("time", timeout_s, runs=runs).get("latencies_ns")
        if not isinstance(latencies_ns, list) or len(latencies_ns) != runs or not all(map(_is_count, latencies_ns)):
            raise WorkerFailed("the process gave no readable answer")
        self._rounds.append(latencies_ns)

    def has_enough(self, rounds: Rounds) -> bool:
        """Whether the protocol's least numbers of queries and seconds were reached."""
        latencies_ns = [latency for part in self._rounds for latency in part]
        return len(latencies_ns) >= rounds.min_queries and sum(latencies_ns) >= rounds.min_duration_s * 1e9

    def end(self, rounds: Rounds) -> None:
        if not self.has_enough(rounds):  # a clock that lies, or a latency that fell to a fraction since the warm-up
            raise WorkerFailed(
                f"{_MOST_ROUNDS} times the planned rounds did not reach the {rounds.min_queries:,} queries and "
                f"{rounds.min_duration_s:g} s of the {rounds.name} protocol"
            )
        (peak_bytes,) = _counts(self._process.call("end", self._limits.start_s), "peak_memory_bytes")
        self.peak_memory_mb = peak_bytes / MB

    def latency(self, num_threads: int) -> Latency:
        return summarise(self._rounds, num_threads, self._started)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63


def _counts(answer: dict[str, Any], *names: str) -> list[int]:
    """Positive numbers of a worker's answer. A model that took its process over may answer anything."""
    values = [answer.get(name) for name in names]
    if not all(map(_is_count, values)):
        raise WorkerFailed("the process gave no readable answer")
    return [int(value) for value in values if value is not None]


def pinned_cores(num_threads: int) -> list[int]:
    """The cores that timed workers stay on: the last ones, as the first takes most interrupts. Empty: can't pin."""
    if not hasattr(os, "sched_getaffinity"):
        return []
    usable = sorted(os.sched_getaffinity(0))
    return usable[-num_threads:] if num_threads <= len(usable) else []
