"""This module runs models, each in a process of its own.

Answers are computed side by side on the free cores. Latencies are measured one at a time, in rounds.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.bench.latency import Rounds, Started, noise_floor, summarise
from tledge.bench.photos import PhotosOnDisk
from tledge.progress import Progress
from tledge.records import Latency, NoiseFloor
from tledge.run import Run
from tledge.workers.adapter import Adapter
from tledge.workers.place import Place
from tledge.workers.process import ARTIFACT, ORIGINAL, WorkerFailed, WorkerProcess
from tledge.workers.worker import Job

MB = 1_000_000
ORIGINAL_NAME = "original"
_MOST_ROUNDS = 4  # at most so many times the protocol's rounds: a latency seldom falls to a quarter after its warm-up
Answers = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Runnable:
    """A ``Runnable`` is a model that a worker runs.

    ``kernels`` names one of the runtime's sets of kernels; empty stands for the deployed set. ``program`` is the module
    that runs as the worker. A file from elsewhere has ``adapters`` and answers all photos with each of them. ``photos``
    are the bench's photos at another size; None stands for the bench's own.
    """

    name: str
    path: Path
    runtime: str
    kernels: str = ""
    program: str = ARTIFACT
    adapters: tuple[Adapter, ...] = ()
    photos: PhotosOnDisk | None = None


def original_of(run: Run) -> Runnable:
    """Return the original of a run as a :class:`Runnable`. Its answers are logits."""
    return Runnable(ORIGINAL_NAME, run.folder / "model", "tensorflow", program=ORIGINAL)


@dataclass(frozen=True)
class TimeLimits:
    """A process is ended if it gives no answer within ``start_s`` seconds plus ``photo_s`` seconds for each photo."""

    start_s: float = 120.0
    photo_s: float = 2.0


@dataclass(frozen=True)
class Timed:
    """This record holds the latency of one model and the most memory that its process took."""

    latency: Latency
    peak_memory_mb: float


@dataclass(frozen=True)
class Timings:
    """This record holds the latencies of all models at one thread count.

    ``floor`` is None where no model ran, or where one of the two processes that are compared for it failed.
    """

    timed: dict[Runnable, Timed | WorkerFailed]
    floor: NoiseFloor | None


@dataclass(frozen=True)
class Bench:
    """A bench runs models on the same photos and on one machine, and returns their answers and latencies.

    ``place`` is the machine. An answer is ``num_classes`` numbers for each photo."""

    place: Place
    photos: PhotosOnDisk
    num_classes: int
    limits: TimeLimits = field(default_factory=TimeLimits)

    def answers(
        self,
        models: Sequence[Runnable],
        progress: Progress,
        step: str,
        then: Callable[[Runnable, Answers | WorkerFailed], None] = lambda model, answers: None,
    ) -> dict[Runnable, Answers | WorkerFailed]:
        """Return the outputs of every model on all photos, float32 (N, C), or why there are none.

        Each model runs in a process with one thread, and as many processes run as there are cores. The outputs are
        read-only memory maps of files. Models are started in their order: give the slowest first, so that the cores
        end together. ``then`` is called with each model and its answers as they come, from several threads.
        """
        running: set[WorkerProcess] = set()
        stopping = threading.Event()

        def work(model: Runnable) -> Answers | WorkerFailed:
            found = self._answer(model, running, stopping)
            if not stopping.is_set():
                then(model, found)
            advance(1)
            return found

        with (
            progress.step(step, len(models)) as advance,
            ThreadPoolExecutor(self.place.machine().logical_cores) as pool,
        ):
            try:
                return dict(zip(models, pool.map(work, models), strict=True))
            except BaseException:  # Ctrl-C: the threads wait for processes, so the processes end first
                stopping.set()
                pool.shutdown(wait=False, cancel_futures=True)
                for process in list(running):
                    process.kill()
                raise

    def latencies(self, models: Sequence[Runnable], num_threads: int, rounds: Rounds, progress: Progress) -> Timings:
        """Time every model in interleaved rounds (A B C A B C), each in its own process on the same cores.

        The model that is fastest after its warm-up also runs in a second process. How far the two processes differ is
        the noise floor.
        """
        cores = self.place.cores(num_threads)
        failed: dict[Runnable, Timed | WorkerFailed] = {}
        step = f"latency, {num_threads} thread{'s' if num_threads > 1 else ''}"
        with contextlib.ExitStack() as stack, progress.step(step, (len(models) + 1) * (rounds.rounds + 1)) as advance:
            runners: list[_Runner] = []
            for model in models:
                runner = _Runner(model, stack.enter_context(self.start(model, num_threads, cores)), self.limits)
                if _survives(runner.start, rounds, failed, runner.model):
                    runners.append(runner)
                advance(1)
            if not runners:
                return Timings(failed, None)
            twin_of = min(runners, key=lambda runner: runner.median_ns)
            twin = _Runner(
                twin_of.model, stack.enter_context(self.start(twin_of.model, num_threads, cores)), self.limits
            )
            twin_lives = _survives(twin.start, rounds, {}, twin.model)
            advance(1)
            everyone = [*runners, *([twin] if twin_lives else [])]
            # A latency that fell since the warm-up asks for more rounds than were planned.
            for number in range(_MOST_ROUNDS * rounds.rounds):
                if number >= rounds.rounds and all(runner.has_enough(rounds) for runner in everyone):
                    break
                for runner in list(everyone):
                    if not _survives(runner.time, rounds, {} if runner is twin else failed, runner.model):
                        everyone.remove(runner)
                    advance(1)
            timed: dict[Runnable, Timed | WorkerFailed] = dict(failed)
            for runner in everyone:
                if runner is not twin and _survives(runner.end, rounds, timed, runner.model):
                    timed[runner.model] = Timed(runner.latency(num_threads), runner.peak_memory_mb)
            floor = None
            if twin_of in everyone and twin in everyone and isinstance(timed[twin_of.model], Timed):
                floor = noise_floor(twin_of.model.name, twin_of.latency(num_threads), twin.latency(num_threads))
        return Timings(timed, floor)

    def start(self, model: Runnable, num_threads: int, cores: list[int]) -> WorkerProcess:
        """Start the worker of a model with all photos. The caller ends the process."""
        photos = model.photos or self.photos
        job = Job(
            artifact=self.place.put(model.path),
            runtime=model.runtime,
            kernels=model.kernels,
            num_threads=num_threads,
            cores=cores,
            pixels=self.place.put(photos.path),
            num_photos=photos.num_photos,
            input_size=photos.input_size,
            outputs=self.place.new_file(),
            adapters=[asdict(adapter) for adapter in model.adapters],
        )
        return self.place.start(model.program, job)

    def _answer(
        self, model: Runnable, running: set[WorkerProcess], stopping: threading.Event
    ) -> Answers | WorkerFailed:
        num_photos = (model.photos or self.photos).num_photos * max(1, len(model.adapters))
        process = self.start(model, 1, [])
        outputs: Path | None = None
        try:
            with process:
                running.add(process)
                try:
                    if stopping.is_set():
                        return WorkerFailed("stopped")
                    process.call("load", self.limits.start_s)
                    timeout_s = self.limits.start_s + self.limits.photo_s * num_photos
                    (width,) = _counts(process.call("answer", timeout_s), "num_outputs")
                finally:
                    running.discard(process)
            if width != self.num_classes:  # checked before the file is brought here: the file may be of any size
                return WorkerFailed(f"the output has {width} classes, the original {self.num_classes}")
            outputs = self.place.get(process.job.outputs)
            # The file is mapped after its process has ended: reading a map whose file was cut short ends the reader.
            if outputs.is_symlink() or not outputs.is_file() or outputs.stat().st_size != 4 * num_photos * width:
                return WorkerFailed("the process did not write an answer for every photo")
            return np.memmap(outputs, np.float32, "r", shape=(num_photos, width))
        except WorkerFailed as failure:
            return failure
        finally:
            # The file of a failed worker goes too, since one scratch folder serves a whole search. A memory map keeps
            # its data without the file's name.
            self.place.remove(process.job.outputs)
            if outputs:
                outputs.unlink(missing_ok=True)


def _survives(
    step: Callable[[Rounds], None], rounds: Rounds, failed: dict[Runnable, Timed | WorkerFailed], model: Runnable
) -> bool:
    """Run a step of a model and say whether it succeeded. A failure is noted in ``failed``."""
    try:
        step(rounds)
    except WorkerFailed as failure:
        failed[model] = failure
        return False
    return True


class _Runner:
    """A runner times one model in one process."""

    def __init__(self, model: Runnable, process: WorkerProcess, limits: TimeLimits) -> None:
        self.model = model
        self._process, self._limits = process, limits
        self._rounds: list[list[int]] = []
        self._references_ns: list[int] = []
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
        answer = self._process.call("time", timeout_s, runs=runs)
        latencies_ns = answer.get("latencies_ns")
        if not isinstance(latencies_ns, list) or len(latencies_ns) != runs or not all(map(_is_count, latencies_ns)):
            raise WorkerFailed("the process gave no readable answer")
        self._rounds.append(latencies_ns)
        self._references_ns += _counts(answer, "reference_ns")

    def has_enough(self, rounds: Rounds) -> bool:
        """Say whether the process reached the protocol's least number of queries and seconds."""
        latencies_ns = [latency for part in self._rounds for latency in part]
        return len(latencies_ns) >= rounds.min_queries and sum(latencies_ns) >= rounds.min_duration_s * 1e9

    def end(self, rounds: Rounds) -> None:
        if not self.has_enough(rounds):  # the clock is wrong, or latency fell to a fraction since the warm-up
            raise WorkerFailed(
                f"{_MOST_ROUNDS} times the planned rounds did not reach the {rounds.min_queries:,} queries and "
                f"{rounds.min_duration_s:g} s of the {rounds.name} protocol"
            )
        (peak_bytes,) = _counts(self._process.call("end", self._limits.start_s), "peak_memory_bytes")
        self.peak_memory_mb = peak_bytes / MB

    def latency(self, num_threads: int) -> Latency:
        return summarise(self._rounds, num_threads, self._started, self._references_ns)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63


def _counts(answer: dict[str, Any], *names: str) -> list[int]:
    """Return the positive whole numbers that a worker answered under these names.

    Raises WorkerFailed where one is missing or is none: a model that took its process over may answer anything.
    """
    values = [answer.get(name) for name in names]
    if not all(map(_is_count, values)):
        raise WorkerFailed("the process gave no readable answer")
    return [int(value) for value in values if value is not None]
