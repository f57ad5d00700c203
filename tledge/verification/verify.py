"""verify: a run's artifacts in, a report and a verdict out."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from tledge import __version__
from tledge.errors import ArtifactError, InputError, unknown
from tledge.machine import this_machine
from tledge.progress import Progress, Silent
from tledge.records import MachineRecord, Protocol, Report
from tledge.run import Run, artifacts_root, library_versions, now_utc, open_run
from tledge.runtimes import runtimes_for
from tledge.verification import gallery, gate, targets
from tledge.verification.choice import choose
from tledge.verification.latency import Rounds, protocol
from tledge.verification.measure import pinned_cores
from tledge.verification.measurement import Measurement, Subject, Wanted
from tledge.verification.rows import row
from tledge.verification.targets import Target

LIBRARIES = ("tensorflow", "ai-edge-litert", "onnxruntime", "numpy")


def verify(
    run: Run | str | None = None,
    *,
    target: str = targets.DEFAULT,
    format_names: Sequence[str] = (),
    wanted: Wanted | None = None,
    artifacts: Path | None = None,
    progress: Progress | None = None,
) -> Report:
    """Run every artifact of a run (or those of ``format_names``) against the original; write report.json and return it.

    The verdict is in the report: a failed gate, or an artifact that is broken or crashes, raises nothing. Raises
    InputError for an unknown run, target, protocol or format and for a run without exports, ArtifactError for a run
    whose own files changed since they were written.
    """
    progress, wanted = progress or Silent(), wanted or Wanted()
    machine = this_machine()
    budget, overrides = targets.override(targets.load(target), wanted.limits)
    rounds = protocol(wanted.protocol)
    if any(not 1 <= count <= machine.logical_cores for count in wanted.thread_counts):
        raise InputError(f"--threads: use whole numbers from 1 to {machine.logical_cores}, the cores of this machine")
    if wanted.accuracy_only and (wanted.layers or wanted.thread_counts or wanted.protocol != Wanted().protocol):
        raise InputError("--accuracy-only measures nothing else: drop --layers, --threads and --protocol, or drop it")
    if not isinstance(run, Run):
        run = open_run(artifacts_root(artifacts), run)
    subjects, warnings = _subjects(run, format_names, budget, target)
    warnings += _warnings(budget, target, machine)
    for warning in warnings:
        progress.warn(warning)
    with tempfile.TemporaryDirectory(prefix="tledge-") as folder:
        measured = Measurement(run, subjects, budget, wanted, rounds, Path(folder), progress)
        measured.measure()
    for warning in measured.warnings():
        progress.warn(warning)
        warnings.append(warning)
    labels = run.manifest.labels
    rows = [row(subject, measured, budget, machine, wanted) for subject in subjects]
    floors = [timing.floor for timing in measured.timings.values() if timing.floor]
    num_flipped, flipped = gallery.flipped(
        measured.photos,
        labels,
        measured.reference,
        {subject.name: answers for subject in subjects if (answers := measured.good(subject.task)) is not None},
    )
    report = Report(
        run=run.name,
        manifest_sha256=run.manifest_sha256,
        created_utc=now_utc(),
        tledge_version=__version__,
        dataset=run.manifest.dataset.name,
        dataset_fingerprint_sha256=run.manifest.dataset.fingerprint_sha256,
        test_split_sha256=run.manifest.splits["test"].sha256,
        seed=run.manifest.seed,
        backbone=run.manifest.backbone.handle,
        labels=labels,
        target={"name": target, **budget.as_json()},
        overrides=overrides,
        certify=wanted.certify,
        machine=machine,
        protocol=None if wanted.accuracy_only else _protocol(rounds, budget),
        num_test_photos=len(measured.photos.ids),
        original=measured.original(),
        rows=rows,
        noise_floors=floors,
        attribution=measured.attribution,
        layers=measured.layers,
        num_flipped_photos=num_flipped,
        flipped_photos=flipped,
        choice=choose(rows, floors[0].floor if floors else 0.0),
        warnings=warnings,
        library_versions=library_versions(*LIBRARIES),
        wall_times_s={name: round(seconds, 2) for name, seconds in measured.wall_times_s.items()},
        verdict=gate.overall([row.verdict for row in rows]),
    )
    run.reports().mkdir(exist_ok=True)
    report.save(run.reports() / "report.json")
    return report


def _subjects(run: Run, format_names: Sequence[str], budget: Target, target: str) -> tuple[list[Subject], list[str]]:
    """The artifacts that the target runs, and warnings of those it does not."""
    names = run.export_names()
    if not names:
        raise InputError(
            f"run {run.name} has no artifacts yet. Export one first: tledge export --run {run.name} --format all"
        )
    for name in format_names:
        if name not in names:
            raise unknown(f"artifact of run {run.name}", name, names, f"Or make it: tledge export --format {name}")
    subjects: list[Subject] = []
    left_out = []
    for name in (name for name in names if not format_names or name in format_names):
        try:
            record = run.export_record(name)
        except ArtifactError as error:
            subjects.append(Subject(name, None, None, run.export_folder(name), str(error)))
            continue
        path = run.export_folder(name) / record.file
        usable = [runtime for runtime in runtimes_for(path) if runtime.name in budget.runtimes]
        subjects += [Subject(name, record, runtime, path, None) for runtime in usable]
        if not usable:
            left_out.append(name)
    if not subjects:
        raise InputError(
            f"target {target!r} runs {', '.join(budget.runtimes)}, and no artifact of run {run.name} is for them"
        )
    if left_out:
        return subjects, [f"not verified, because target {target!r} has no runtime for them: {', '.join(left_out)}"]
    return subjects, []


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


def _protocol(rounds: Rounds, budget: Target) -> Protocol:
    return Protocol(name=rounds.name, description=rounds.description, pinned_cores=pinned_cores(budget.threads) or None)
