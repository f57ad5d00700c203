"""This module makes all the measurements of ``verify``, in a fixed order."""

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
from tledge.bench.answers import probabilities_or_fault, require_logits, softmax
from tledge.bench.bench import Bench, Runnable, Timed, TimeLimits, Timings, original_of
from tledge.bench.latency import UNSTEADY, Rounds, measured_speedup
from tledge.bench.photos import lay_out
from tledge.cache import CachedRows
from tledge.datasets.run_photos import load_split
from tledge.errors import ArtifactError
from tledge.progress import Progress
from tledge.records import AttributionStep, Audit, Drift, LayerReport, OriginalRow, PhotoAnswers, Speedup
from tledge.run import Run
from tledge.scores import confusions
from tledge.statistics import wilson_interval
from tledge.verification import attribution
from tledge.verification.drift import drift, photo_answers
from tledge.verification.layer_errors import layer_reports
from tledge.verification.reference import probabilities, reference_logits
from tledge.verification.subjects import Subject
from tledge.verification.targets import Target
from tledge.workers.place import Here
from tledge.workers.process import WorkerFailed

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Wanted:
    """This record says how a verification measures and judges.

    ``thread_counts`` are further thread counts at which latency is measured, besides the target's. ``limits`` replace
    limits of the target, by the names of :class:`targets.Budget`; None keeps the target's limit.
    """

    limits: Mapping[str, float | None] = field(default_factory=dict)
    certify: bool = False
    accuracy_only: bool = False
    protocol: str = "standard"
    thread_counts: tuple[int, ...] = ()
    layers: bool = False
    time_limits: TimeLimits = field(default_factory=TimeLimits)


class Measurement:
    """A measurement runs the artifacts and the original, and holds what was measured.

    Answers come first, from processes side by side. Latencies come last, one process at a time.
    """

    def __init__(
        self,
        run: Run,
        subjects: Sequence[Subject],
        target: Target,
        wanted: Wanted,
        rounds: Rounds,
        folder: Path,
        progress: Progress,
    ) -> None:
        self.run, self.target, self.wanted, self.rounds = run, target, wanted, rounds
        self._folder, self._progress = folder, progress
        self.place = Here(folder)
        self._original = original_of(run)
        self._running = [subject for subject in subjects if subject.problem is None]
        self.photos = load_split(run, "test", progress)
        self._logits = reference_logits(run, self.photos, folder)
        self.reference = probabilities(self._logits, folder / "reference")
        self.audits: dict[str, Audit] = {}
        self.contracts: dict[str, list[str]] = {}
        self.answers: dict[Runnable, Floats | WorkerFailed] = {}
        self.drifts: dict[Runnable, Drift] = {}
        self.timings: dict[int, Timings] = {}
        self.attribution: list[AttributionStep] = []
        self.layers: list[LayerReport] = []
        self.wall_times_s: dict[str, float] = {}

    def measure(self) -> None:
        """Measure answers, then where accuracy was lost, then the layers where wanted, then latencies.

        With ``accuracy_only`` the answers and the audits of the files are all.
        """
        started = time.perf_counter()
        bench = self._lay_out("photos", self.photos.pixels)
        started = self._lap("laying out photos", started)
        models = [subject.model for subject in sorted(self._running, key=_expected_cost, reverse=True)]
        if not self.wanted.accuracy_only:
            models.insert(0, self._original)
        # The files are read while the workers run: afterwards, reading would leave the other cores idle.
        with ThreadPoolExecutor(1) as beside:
            reading = [beside.submit(self._read, subject) for subject in self._running]
            try:
                given = bench.answers(models, self._progress, "answers to every test photo", self._compare)
            except BaseException:  # Ctrl-C: files whose reading has not begun are left out
                beside.shutdown(wait=False, cancel_futures=True)
                raise
            self.answers = {model: self._judged(model, answers) for model, answers in given.items()}
            started = self._lap("answers", started)
            for file in reading:
                file.result()
        started = self._lap("reading the files", started)
        if self.wanted.accuracy_only:
            return
        original = require_logits(self.answers[self._original], self._original.path)
        self.attribution = self._attribute(original)
        started = self._lap("attribution", started)
        if self.wanted.layers:
            artifacts = {subject.format: subject.path for subject in self._running if subject.record}
            usable = list(dict.fromkeys(subject.runtime for subject in self._running if subject.runtime))
            self.layers = layer_reports(artifacts, usable, bench, self._progress)
            started = self._lap("layers", started)
        for count in dict.fromkeys((self.target.threads, *self.wanted.thread_counts)):
            timed = [self._original, *(subject.model for subject in self._running)]
            self.timings[count] = bench.latencies(timed, count, self.rounds, self._progress)
        self._lap("latency", started)

    def good(self, model: Runnable) -> Floats | None:
        """Return an artifact's probabilities (N, C) or the original's logits; None where it failed or did not run."""
        answers = self.answers.get(model)
        return None if isinstance(answers, WorkerFailed) else answers

    def fault(self, model: Runnable) -> str | None:
        """Say what is wrong with a model's answers; return None where they can be compared."""
        answers = self.answers[model]
        return str(answers) if isinstance(answers, WorkerFailed) else None

    def drift_of(self, subject: Subject) -> Drift | None:
        """Return the drift of an artifact from the original as the training device computed it.

        The drift is None where the artifact gave no usable answers.
        """
        return self.drifts.get(subject.model) if subject.problem is None else None

    def photo_answers(self, subject: Subject) -> PhotoAnswers | None:
        """Return an artifact's answers photo by photo; None where it has no drift."""
        answers = self.good(subject.model)
        if answers is None or self.drift_of(subject) is None:
            return None
        return photo_answers(
            self.photos.labels, self.reference, answers, self.photos.content_sha256, self.run.manifest.labels
        )

    def _judged(self, model: Runnable, answers: Floats | WorkerFailed) -> Floats | WorkerFailed:
        """Return the answers where they are probabilities or the original's logits, else what is wrong with them."""
        return answers if model == self._original else probabilities_or_fault(answers)

    def _compare(self, model: Runnable, answers: Floats | WorkerFailed) -> None:
        """Record the drift of an artifact from the original as the training device computed it."""
        judged = self._judged(model, answers)
        if model != self._original and not isinstance(judged, WorkerFailed):
            self.drifts[model] = drift(self.photos.labels, self.reference, judged, self.run.manifest.labels)

    def original(self) -> OriginalRow:
        """Return the original's row: accuracy on the training device, and drift, latency and memory on this CPU."""
        manifest, answers = self.run.manifest, self.answers.get(self._original)
        cpu_drift = None
        if answers is not None and not isinstance(answers, WorkerFailed):
            cpu_drift = drift(
                self.photos.labels,
                self.reference,
                self._on_this_cpu(answers),
                manifest.labels,
                original_logits=self._logits,
                artifact_logits=answers,
            )
        timed = [timing.timed[self._original] for timing in self.timings.values()]
        latencies = [one.latency for one in timed if isinstance(one, Timed)]
        threads = self.target.threads
        predicted = np.argmax(self.reference, axis=1)
        right = int(np.sum(predicted == self.photos.labels))
        folder = self._original.path
        return OriginalRow(
            accuracy=right / len(self.photos.ids),
            accuracy_interval=wilson_interval(right, len(self.photos.ids)),
            device=manifest.device,
            confusions=confusions(self.photos.labels, predicted),
            size_bytes=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
            cpu_drift=cpu_drift,
            cpu_latency=next((latency for latency in latencies if latency.num_threads == threads), None),
            cpu_thread_sweep=[latency for latency in latencies if latency.num_threads != threads],
            peak_memory_mb=max((one.peak_memory_mb for one in timed if isinstance(one, Timed)), default=None),
        )

    def _on_this_cpu(self, logits: Floats) -> Floats:
        """Return the original's probabilities (N, C) on this CPU, computed once from its logits into a file."""
        path = self._folder / "original"
        return np.memmap(path, np.float64, "r", shape=logits.shape) if path.exists() else probabilities(logits, path)

    def speedups(self, subject: Subject) -> list[Speedup]:
        """Return the speed-ups of an artifact at every thread count.

        They compare it with the float32 artifact on the same runtime and with the original.
        """
        made = []
        for timing in self.timings.values():
            mine = timing.timed.get(subject.model)
            if not isinstance(mine, Timed) or timing.floor is None:
                continue
            float_model = self._float_model(subject)
            for other in (float_model, self._original):
                theirs = timing.timed.get(other) if other and other != subject.model else None
                if other and isinstance(theirs, Timed):
                    made.append(measured_speedup(mine.latency, other.name, theirs.latency, timing.floor))
        return made

    def warnings(self) -> list[str]:
        """Say what makes latencies unreliable or missing without failing an artifact."""
        found = []
        for count, timing in self.timings.items():
            threads = f"{count} thread{'s' if count > 1 else ''}"
            original = timing.timed.get(self._original)
            if isinstance(original, WorkerFailed):
                found.append(f"the original was not timed at {threads}: {original}")
            if timing.floor is None:
                found.append(f"no noise floor at {threads}: nothing is said of differences in latency")
            elif timing.floor.floor > UNSTEADY:
                found.append(
                    f"an artifact differed from itself by up to {timing.floor.floor:.0%} at {threads}: this machine "
                    "is too unsteady or too busy for latencies. Measure again when it is quiet."
                )
        return found

    def _float_model(self, subject: Subject) -> Runnable | None:
        for other in self._running:
            if other.runtime == subject.runtime and other.record and other.record.promise == "float32":
                return other.model
        return None

    def _attribute(self, original_logits: Floats) -> list[AttributionStep]:
        labels = self.photos.labels
        made = [attribution.device_step(labels, self.reference, self._on_this_cpu(original_logits))]
        subjects = {
            attribution.Loss(
                subject.model, subject.record.promise, subject.runtime, self._float_model(subject)
            ): subject.is_judged
            for subject in self._running
            if subject.record and subject.runtime and self.good(subject.model) is not None
        }
        audits = [self.audits.get(subject.model.name) for subject in subjects]
        macs = [found.num_macs if found else None for found in audits]
        chosen = _spread(len(labels), attribution.num_photos(macs, len(labels)))
        bench = self._lay_out("attribution-photos", self.photos.pixels.select(chosen))
        step = f"where it was lost, on {len(chosen)} photos"
        ran = {
            model: judged
            for model, answers in bench.answers(attribution.models(list(subjects)), self._progress, step).items()
            if not isinstance(judged := probabilities_or_fault(answers), WorkerFailed)
        }
        for subject in subjects:
            if (answers := self.good(subject.model)) is not None:
                ran[subject.model] = answers[chosen]
        for subject in (subject for subject, is_judged in subjects.items() if is_judged):
            made += attribution.steps(
                subject,
                labels[chosen],
                softmax(original_logits[chosen]),
                ran,
            )
        return made

    def _read(self, subject: Subject) -> None:
        """Audit an artifact's file and compare its labels and input with the run's, which is its contract.

        A file that can't be read breaks the contract. The contract of a file from elsewhere was found before.
        """
        manifest = self.run.manifest
        try:
            self.audits[subject.name] = audit(subject.path)
            if subject.foreign:
                return
            self.contracts[subject.name] = contract_problems(
                subject.path, manifest.labels, manifest.backbone.input_size, manifest.pixel_range, manifest.resize
            )
        except ArtifactError as error:
            self.contracts[subject.name] = [str(error)]

    def _lay_out(self, name: str, pixels: CachedRows) -> Bench:
        photos = lay_out(
            self._folder / name,
            pixels.batches(64),
            len(pixels),
            self.run.manifest.backbone.input_size,
            self._progress,
            "laying out photos",
        )
        return Bench(self.place, photos, self.reference.shape[1], self.wanted.time_limits)

    def _lap(self, name: str, started: float) -> float:
        now = time.perf_counter()
        self.wall_times_s[name] = now - started
        return now


def _expected_cost(subject: Subject) -> int:
    """Rank an artifact by its expected running time; the slowest are started first, so that the cores end together.

    Dynamic-range models (2) are the slowest on most CPUs, and all-integer models (0) the fastest.
    """
    return {"dynamic-range int8": 2, "all-integer": 0}.get(subject.record.promise if subject.record else "", 1)


def _spread(available: int, wanted: int) -> npt.NDArray[np.int64]:
    """Return ``wanted`` row numbers at equal distances over the split, or all rows where it has fewer."""
    return np.unique(np.linspace(0, available - 1, min(wanted, available)).astype(np.int64))
