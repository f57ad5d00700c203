"""Everything that verify measures of a run, in the order in which it is measured."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tledge.audit import audit
from tledge.audit.contract import contract_problems
from tledge.cache import Rows
from tledge.datasets.prepare import SplitPhotos, load_split
from tledge.errors import ArtifactError
from tledge.machine import usable_cores
from tledge.progress import Progress
from tledge.records import AttributionStep, Audit, Drift, ExportRecord, LayerReport, OriginalRow, Speedup
from tledge.run import Run
from tledge.runtimes import Runtime
from tledge.runtimes.launch import ORIGINAL, WorkerFailed
from tledge.verification import attribution
from tledge.verification.drift import drift, softmax
from tledge.verification.latency import Rounds, speedup
from tledge.verification.layers import layer_reports
from tledge.verification.measure import Bench, Task, Timed, TimeLimits, Timing
from tledge.verification.probabilities import why_no_probabilities
from tledge.verification.statistics import wilson_interval
from tledge.verification.targets import Target

Floats = npt.NDArray[np.floating]
ORIGINAL_NAME = "original"
UNSTEADY = 0.10  # a noise floor above it is warned of


@dataclass(frozen=True)
class Wanted:
    """What a verification does beyond accuracy. ``thread_counts``: latency at these too, besides the target's.

    ``limits``: budgets in place of the target's, by the names of :class:`targets.Budget`; None keeps the target's.
    """

    limits: Mapping[str, float | None] = field(default_factory=dict)
    certify: bool = False
    accuracy_only: bool = False
    protocol: str = "standard"
    thread_counts: tuple[int, ...] = ()
    layers: bool = False
    time_limits: TimeLimits = field(default_factory=TimeLimits)


@dataclass(frozen=True)
class Subject:
    """One artifact on one runtime. ``problem``: why it is not run, where its file or record is broken."""

    format: str
    record: ExportRecord | None
    runtime: Runtime | None
    path: Path
    problem: str | None

    @property
    def name(self) -> str:
        return f"{self.format} on {self.runtime.name}" if self.runtime else self.format

    @property
    def task(self) -> Task:
        return Task(self.name, self.path, self.runtime.name if self.runtime else "")


class Measurement:
    """Everything that is measured, in the order in which it is: answers first, side by side; latencies alone."""

    def __init__(
        self,
        run: Run,
        subjects: Sequence[Subject],
        budget: Target,
        wanted: Wanted,
        rounds: Rounds,
        folder: Path,
        progress: Progress,
    ) -> None:
        self._run, self._budget, self._wanted, self._rounds = run, budget, wanted, rounds
        self._folder, self._progress = folder, progress
        self._original_task = Task(ORIGINAL_NAME, run.folder / "model", "tensorflow", "", ORIGINAL)
        self._running = [subject for subject in subjects if subject.problem is None]
        self.photos = load_split(run, "test", progress)
        self._logits = _reference(run, self.photos)
        self.reference = softmax(self._logits)
        self.audits: dict[str, Audit] = {}
        self.contracts: dict[str, list[str]] = {}
        self.answers: dict[Task, Floats | WorkerFailed] = {}
        self.timings: dict[int, Timing] = {}
        self.attribution: list[AttributionStep] = []
        self.layers: list[LayerReport] = []
        self.wall_times_s: dict[str, float] = {}

    def measure(self) -> None:
        """Answers, then where they were lost, then latencies."""
        started = time.perf_counter()
        bench = self._lay_out("photos", self.photos.pixels)
        started = self._lap("laying out photos", started)
        tasks = [subject.task for subject in sorted(self._running, key=_expected_cost, reverse=True)]
        if not self._wanted.accuracy_only:
            tasks.insert(0, self._original_task)
        self.answers = dict(bench.answers(tasks, self._progress, "answers to every test photo"))
        started = self._lap("answers", started)
        with ThreadPoolExecutor(usable_cores()) as pool:  # ONNX's shape inference runs in a process of its own
            list(pool.map(self._read, self._running))
        started = self._lap("reading the files", started)
        if self._wanted.accuracy_only:
            return
        original = self.answers[self._original_task]
        if isinstance(original, WorkerFailed):
            raise ArtifactError(f"{self._run.folder / 'model'}: the original does not run on this CPU: {original}")
        if not np.all(np.isfinite(original)):
            raise ArtifactError(f"{self._run.folder / 'model'}: the original's output is not finite on this CPU")
        self.attribution = self._attribute(original)
        started = self._lap("attribution", started)
        if self._wanted.layers:
            artifacts = {subject.format: subject.path for subject in self._running}
            self.layers = layer_reports(artifacts, bench, self._progress)
            started = self._lap("layers", started)
        for count in dict.fromkeys((self._budget.threads, *self._wanted.thread_counts)):
            timed = [self._original_task, *(subject.task for subject in self._running)]
            self.timings[count] = bench.latencies(timed, count, self._rounds, self._progress)
        self._lap("latency", started)

    def good(self, task: Task) -> Floats | None:
        """The answers of a task as probabilities (N, C), where it ran and they can be compared."""
        answers = self.answers.get(task)
        if answers is None or isinstance(answers, WorkerFailed) or self.fault(task):
            return None
        return answers

    def fault(self, task: Task) -> str | None:
        """What is wrong with the answers of a task; None where they can be compared."""
        return _fault(self.answers[task])

    def drift_of(self, subject: Subject) -> Drift | None:
        """Against the original as the training device computed it."""
        answers = self.good(subject.task) if subject.problem is None else None
        if answers is None:
            return None
        return drift(self.photos.labels, self.reference, answers, self._run.manifest.labels)

    def original(self) -> OriginalRow:
        """The original's row."""
        manifest, answers = self._run.manifest, self.answers.get(self._original_task)
        cpu_drift = None
        if answers is not None and not isinstance(answers, WorkerFailed):
            cpu_drift = drift(
                self.photos.labels,
                self.reference,
                softmax(answers),
                manifest.labels,
                original_logits=self._logits,
                artifact_logits=answers,
            )
        timed = [timing.timed[self._original_task] for timing in self.timings.values()]
        latencies = [one.latency for one in timed if isinstance(one, Timed)]
        threads = self._budget.threads
        right = int(np.sum(np.argmax(self.reference, axis=1) == self.photos.labels))
        model = self._run.folder / "model"
        return OriginalRow(
            accuracy=right / len(self.photos.ids),
            accuracy_interval=wilson_interval(right, len(self.photos.ids)),
            device=manifest.device,
            size_bytes=sum(path.stat().st_size for path in model.rglob("*") if path.is_file()),
            cpu_drift=cpu_drift,
            cpu_latency=next((latency for latency in latencies if latency.num_threads == threads), None),
            cpu_thread_sweep=[latency for latency in latencies if latency.num_threads != threads],
            peak_memory_mb=max((one.peak_memory_mb for one in timed if isinstance(one, Timed)), default=None),
        )

    def speedups(self, subject: Subject) -> list[Speedup]:
        """Against the float32 artifact of the same runtime, and against the original, at every thread count."""
        made = []
        for timing in self.timings.values():
            mine = timing.timed.get(subject.task)
            if not isinstance(mine, Timed) or timing.floor is None:
                continue
            float_task = self._float_task(subject)
            for other in (float_task, self._original_task):
                theirs = timing.timed.get(other) if other and other != subject.task else None
                if other and isinstance(theirs, Timed):
                    made.append(speedup(mine.latency, other.name, theirs.latency, timing.floor))
        return made

    def warnings(self) -> list[str]:
        """What could not be measured and fails no artifact."""
        found = []
        for count, timing in self.timings.items():
            original = timing.timed.get(self._original_task)
            if isinstance(original, WorkerFailed):
                found.append(f"the original was not timed at {count} threads: {original}")
            if timing.floor is None:
                found.append(f"no noise floor at {count} threads: nothing is said of differences in latency")
            elif timing.floor.floor > UNSTEADY:
                found.append(
                    f"an artifact differed from itself by up to {timing.floor.floor:.0%} at {count} threads: this machine "
                    "is too unsteady or too busy for latencies; measure again when it is quiet"
                )
        return found

    def _float_task(self, subject: Subject) -> Task | None:
        for other in self._running:
            if other.runtime == subject.runtime and other.record and other.record.promise == "float32":
                return other.task
        return None

    def _attribute(self, original_logits: Floats) -> list[AttributionStep]:
        labels = self.photos.labels
        made = [attribution.device_step(labels, self.reference, softmax(original_logits))]
        subjects = [
            attribution.Subject(subject.task, subject.record.promise, subject.runtime, self._float_task(subject))
            for subject in self._running
            if subject.record and subject.runtime and self.good(subject.task) is not None
        ]
        audits = [self.audits.get(subject.task.name) for subject in subjects]
        macs = [found.num_macs if found else None for found in audits]
        chosen = _spread(len(labels), attribution.num_photos(macs, len(labels)))
        bench = self._lay_out("attribution-photos", self.photos.pixels.select(chosen))
        step = f"where it was lost, on {len(chosen)} photos"
        others = bench.answers(attribution.tasks(subjects), self._progress, step)
        ran = {
            task: answers
            for task, answers in others.items()
            if not isinstance(answers, WorkerFailed) and _fault(answers) is None
        }
        deployed = {subject.task: self.answers[subject.task] for subject in subjects}
        for subject in subjects:
            made += attribution.steps(
                subject,
                labels[chosen],
                softmax(original_logits[chosen]),
                {task: answers[chosen] for task, answers in deployed.items() if not isinstance(answers, WorkerFailed)},
                ran,
            )
        return made

    def _read(self, subject: Subject) -> None:
        """Audit and contract, from the file itself."""
        manifest = self._run.manifest
        try:
            self.audits[subject.name] = audit(subject.path)
            self.contracts[subject.name] = contract_problems(
                subject.path, manifest.labels, manifest.backbone.input_size
            )
        except ArtifactError as error:
            self.contracts[subject.name] = [str(error)]

    def _lay_out(self, name: str, pixels: Rows) -> Bench:
        path = self._folder / name
        with path.open("wb") as file, self._progress.step("laying out photos", len(pixels)) as advance:
            for batch in pixels.batches(64):
                file.write(np.ascontiguousarray(batch).tobytes())
                advance(len(batch))
        size, num_classes = self._run.manifest.backbone.input_size, self.reference.shape[1]
        return Bench(self._folder, path, len(pixels), size, num_classes, self._wanted.time_limits)

    def _lap(self, name: str, started: float) -> float:
        now = time.perf_counter()
        self.wall_times_s[name] = now - started
        return now


def _fault(answers: Floats | WorkerFailed) -> str | None:
    if isinstance(answers, WorkerFailed):
        return str(answers)
    broken = int(np.sum(~np.all(np.isfinite(answers), axis=1)))
    if broken:
        return f"the output holds NaN or infinity on {broken} of {len(answers)} test photos"
    return why_no_probabilities(answers)


def _expected_cost(subject: Subject) -> int:
    """Dynamic-range models are the slowest on most CPUs, all-integer ones the fastest: so the cores end together."""
    return {"dynamic-range int8": 2, "all-integer": 0}.get(subject.record.promise if subject.record else "", 1)


def _spread(available: int, wanted: int) -> npt.NDArray[np.int64]:
    """``wanted`` rows evenly over the split, whose order is the source's."""
    return np.unique(np.linspace(0, available - 1, min(wanted, available)).astype(np.int64))


def _reference(run: Run, photos: SplitPhotos) -> Floats:
    """The logits (N, C) that the training device computed, in the order of ``photos``."""
    with np.load(run.folder / "reference.npz", allow_pickle=False) as stored:
        ids, logits = tuple(stored["ids"].tolist()), np.asarray(stored["logits"])
    if ids != photos.ids:
        raise ArtifactError(f"{run.folder / 'reference.npz'}: its photos are not the test split's; build the run again")
    return logits
