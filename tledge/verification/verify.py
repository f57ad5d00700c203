"""verify: a run's artifacts in, a report and a verdict out."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tledge import __version__
from tledge.datasets.prepare import SplitPhotos, load_split
from tledge.errors import ArtifactError, InputError, unknown
from tledge.machine import this_machine
from tledge.progress import Progress, Silent
from tledge.records import Drift, ExportRecord, Latency, MachineRecord, OriginalRow, Report, Row
from tledge.run import Run, artifacts_root, library_versions, now_utc, open_run
from tledge.runtimes import Runtime, runtimes_for
from tledge.runtimes.launch import WorkerFailed, run_worker
from tledge.runtimes.worker import Job
from tledge.verification import targets
from tledge.verification.drift import drift, softmax
from tledge.verification.gate import MB, judge, verdict
from tledge.verification.latency import MIN_TIMED_RUNS, WARMUP_RUNS, summarise
from tledge.verification.targets import Target

Floats = npt.NDArray[np.floating]
LIBRARIES = ("tensorflow", "ai-edge-litert", "onnxruntime", "numpy")
_START_TIMEOUT_S, _PHOTO_TIMEOUT_S = 120.0, 1.0


@dataclass(frozen=True)
class _Measured:
    """What one worker process gave: ``outputs`` float32 (N, C)."""

    outputs: npt.NDArray[np.float32]
    latency: Latency
    load_ms: float
    peak_memory_mb: float


@dataclass(frozen=True)
class _Bench:
    """The test photos on disk for the workers, and what all jobs have in common."""

    folder: Path
    job: Job
    timeout_s: float

    def measure(self, module: str, artifact: Path, runtime: str) -> _Measured:
        """Run one artifact in its own process. Raises WorkerFailed."""
        job = replace(self.job, artifact=str(artifact.resolve()), runtime=runtime)
        Path(job.result).unlink(missing_ok=True)
        Path(job.outputs).unlink(missing_ok=True)
        result = run_worker(module, asdict(job), self.folder / "job.json", Path(job.result), self.timeout_s)
        return _Measured(
            np.load(job.outputs, allow_pickle=False),
            summarise(result["latencies_ns"], job.num_threads, job.warmup_runs),
            result["load_ns"] / 1e6,
            result["peak_memory_bytes"] / MB,
        )


def verify(
    run: Run | str | None = None,
    *,
    target: str = targets.DEFAULT,
    format_names: Sequence[str] = (),
    artifacts: Path | None = None,
    progress: Progress | None = None,
) -> Report:
    """Run every artifact of a run (or those of ``format_names``) against the original; write report.json and return it.

    The verdict is in the report; a failed budget raises nothing. Raises InputError for an unknown run, target
    or format and for a run without exports, ArtifactError for files that changed since they were written.
    """
    progress = progress or Silent()
    budget = targets.load(target)
    if not isinstance(run, Run):
        run = open_run(artifacts_root(artifacts), run)
    exports = _exports(run, format_names)
    pairs = [
        (record, runtime)
        for record in exports.values()
        for runtime in runtimes_for(Path(record.file))
        if runtime.name in budget.runtimes
    ]
    if not pairs:
        raise InputError(
            f"target {target!r} runs {', '.join(budget.runtimes)}, and no artifact of run {run.name} is for them"
        )
    machine = this_machine()
    warnings = _warnings(budget, target, machine)
    left_out = sorted(set(exports) - {record.format for record, _ in pairs})
    if left_out:
        warnings.append(f"not verified, because target {target!r} has no runtime for them: {', '.join(left_out)}")
    for warning in warnings:
        progress.warn(warning)
    photos = load_split(run, "test", progress)
    reference = _reference(run, photos)
    with tempfile.TemporaryDirectory(prefix="tledge-") as folder:
        bench = _bench(Path(folder), run, photos, budget.threads, progress)
        original = _original(run, bench, photos, reference, progress)
        rows = [
            _row(run, bench, record, runtime, photos, softmax(reference), budget, machine, progress)
            for record, runtime in pairs
        ]
    report = Report(
        run=run.name,
        manifest_sha256=run.manifest_sha256,
        created_utc=now_utc(),
        tledge_version=__version__,
        target={"name": target, **budget.as_json()},
        machine=machine,
        num_test_photos=len(photos.ids),
        original=original,
        rows=rows,
        warnings=warnings,
        library_versions=library_versions(*LIBRARIES),
        verdict="passed" if all(row.verdict == "passed" for row in rows) else "failed",
    )
    run.reports().mkdir(exist_ok=True)
    report.save(run.reports() / "report.json")
    return report


def _exports(run: Run, format_names: Sequence[str]) -> dict[str, ExportRecord]:
    names = run.export_names()
    if not names:
        raise InputError(
            f"run {run.name} has no artifacts yet. Export one first: tledge export --run {run.name} --format all"
        )
    for name in format_names:
        if name not in names:
            raise unknown(f"artifact of run {run.name}", name, names, f"Or make it: tledge export --format {name}")
    return run.exports([name for name in names if not format_names or name in format_names])


def _warnings(budget: Target, name: str, machine: MachineRecord) -> list[str]:
    warnings = []
    if machine.logical_cores < budget.threads:
        warnings.append(
            f"target {name!r} uses {budget.threads} threads, and this machine has {machine.logical_cores} cores"
        )
    guesses = [key for key, basis in budget.basis.as_json().items() if basis == "guess"]
    if guesses:
        warnings.append(f"target {name!r}: these limits are guesses: {', '.join(guesses)}")
    return warnings


def _reference(run: Run, photos: SplitPhotos) -> Floats:
    """The logits (N, C) that the training device computed, in the order of ``photos``."""
    with np.load(run.folder / "reference.npz", allow_pickle=False) as stored:
        ids, logits = tuple(stored["ids"].tolist()), np.asarray(stored["logits"])
    if ids != photos.ids:
        raise ArtifactError(f"{run.folder / 'reference.npz'}: its photos are not the test split's; build the run again")
    return logits


def _bench(folder: Path, run: Run, photos: SplitPhotos, num_threads: int, progress: Progress) -> _Bench:
    with (
        progress.step("laying out the test photos", len(photos.ids)) as advance,
        (folder / "pixels").open("wb") as file,
    ):
        for batch in photos.pixels.batches(64):
            file.write(batch.tobytes())
            advance(len(batch))
    job = Job(
        artifact="",
        runtime="",
        num_threads=num_threads,
        pixels=str(folder / "pixels"),
        num_photos=len(photos.ids),
        input_size=run.manifest.backbone.input_size,
        warmup_runs=WARMUP_RUNS,
        min_timed_runs=MIN_TIMED_RUNS,
        outputs=str(folder / "outputs.npy"),
        result=str(folder / "result.json"),
    )
    inferences = max(len(photos.ids), MIN_TIMED_RUNS) + WARMUP_RUNS
    return _Bench(folder, job, _START_TIMEOUT_S + _PHOTO_TIMEOUT_S * inferences)


def _original(run: Run, bench: _Bench, photos: SplitPhotos, reference: Floats, progress: Progress) -> OriginalRow:
    model = run.folder / "model"
    with progress.step("running the original on this CPU"):
        try:
            measured = bench.measure("tledge.verification.original", model, "tensorflow")
        except WorkerFailed as error:
            raise ArtifactError(f"{model}: the original does not run on this CPU: {error}") from error
    if not np.all(np.isfinite(measured.outputs)):
        raise ArtifactError(f"{model}: the original's output is not finite on this CPU; build the run again")
    return OriginalRow(
        reference_accuracy=float(np.mean(np.argmax(reference, axis=1) == photos.labels)),
        device=run.manifest.device,
        cpu_drift=drift(photos.labels, softmax(reference), softmax(measured.outputs)),
        cpu_latency=measured.latency,
        load_ms=measured.load_ms,
        peak_memory_mb=measured.peak_memory_mb,
        size_bytes=sum(path.stat().st_size for path in model.rglob("*") if path.is_file()),
    )


def _row(
    run: Run,
    bench: _Bench,
    record: ExportRecord,
    runtime: Runtime,
    photos: SplitPhotos,
    original: Floats,
    budget: Target,
    machine: MachineRecord,
    progress: Progress,
) -> Row:
    measured: _Measured | None = None
    found: Drift | None = None
    error: str | None = None
    artifact = run.export_folder(record.format) / record.file
    with progress.step(f"running {record.format} on {runtime.name}"):
        try:
            measured = bench.measure("tledge.runtimes.worker", artifact, runtime.name)
            found, error = _compare(photos.labels, original, measured.outputs)
        except WorkerFailed as failure:
            error = str(failure)
    latency = measured.latency if measured else None
    memory = measured.peak_memory_mb if measured else None
    checks = judge(budget, machine, found, latency, record.size_bytes, memory)
    return Row(
        format=record.format,
        runtime=runtime.name,
        file=record.file,
        sha256=record.sha256,
        size_bytes=record.size_bytes,
        load_ms=measured.load_ms if measured else None,
        peak_memory_mb=memory,
        latency=latency,
        drift=found,
        checks=checks,
        error=error,
        verdict=verdict(checks, error),
    )


def _compare(
    labels: npt.NDArray[np.int64], original: Floats, outputs: npt.NDArray[np.float32]
) -> tuple[Drift | None, str | None]:
    """The drift, or what is wrong with the outputs."""
    if outputs.shape != original.shape:
        return None, f"the output has shape {outputs.shape[1:]}, the original {original.shape[1:]}"
    broken = int(np.sum(~np.all(np.isfinite(outputs), axis=1)))
    if broken:
        return None, f"the output holds NaN or infinity on {broken} of {len(outputs)} test photos"
    return drift(labels, original, outputs), None
