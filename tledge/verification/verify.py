"""This module verifies the artifacts of a run and returns a report with a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tledge._version import __version__
from tledge.bench.latency import protocol
from tledge.cache import scratch_folder
from tledge.doubts import doubts
from tledge.errors import InputError
from tledge.machine import this_machine
from tledge.progress import Progress, Silent
from tledge.records import MachineRecord, Protocol, Report
from tledge.run import Run, find_run, library_versions, now_utc
from tledge.systems import lacking
from tledge.verification import gallery, gate, targets
from tledge.verification.choice import choose_best
from tledge.verification.foreign.discovery import Discovery
from tledge.verification.measurement import Measurement, Wanted
from tledge.verification.rows import row
from tledge.verification.subjects import Subject, foreign_subjects, partners_of, subjects_of
from tledge.verification.targets import Target


def verify_artifacts(
    run: Run | str | None = None,
    *,
    target: str = targets.DEFAULT,
    format_names: Sequence[str] = (),
    wanted: Wanted | None = None,
    artifacts: Path | None = None,
    files: Sequence[Path] = (),
    file_input: str | None = None,
    progress: Progress | None = None,
) -> Report:
    """Compare every artifact of a run (or those of ``format_names``) with the original; return the report.

    ``files`` are files that other tools made, which are compared too. ``file_input`` says how they take their pixels.

    The verdict is in the report: a failed gate, or an artifact that is broken or crashes, raises nothing.

    Raises:
        InputError: The run, target, protocol or format is unknown, the run has no artifacts and no files are given, a
            file is no classifier for the run, or an option is out of range or excludes another.
        ArtifactError: The run's own files changed since they were written.
        EnvironmentFault: The target names a runtime that is not installed, or there is no room on the disk.
    """
    progress, wanted = progress or Silent(), wanted or Wanted()
    machine = this_machine()
    loaded, overrides = targets.override(targets.load(target), wanted.limits)
    rounds = protocol(wanted.protocol)
    if any(not 1 <= count <= machine.logical_cores for count in wanted.thread_counts):
        raise InputError(f"--threads: use whole numbers from 1 to {machine.logical_cores}, the cores of this machine")
    if wanted.accuracy_only and (wanted.layers or wanted.thread_counts or wanted.protocol != Wanted().protocol):
        raise InputError("--accuracy-only measures nothing else: drop --layers, --threads and --protocol, or drop it")
    if file_input is not None and not files:
        raise InputError(
            "--file-input says how the files of --file take their pixels: name one with --file, or drop it"
        )
    run = find_run(run, artifacts)
    usable, left_out = targets.usable_runtimes(loaded, target)
    subjects, warnings = subjects_of(run, format_names, usable, target, has_files=bool(files))
    warnings += [*filter(None, [lacking()]), *left_out, *doubts(run.manifest), *_warnings(loaded, target, machine)]
    for warning in warnings:
        progress.warn(warning)
    with scratch_folder() as folder:
        if files:
            discovery = Discovery(run, file_input, folder, wanted.time_limits, progress)
            subjects = [*subjects, *foreign_subjects(discovery.found(files, usable, target))]
        partners = [] if wanted.accuracy_only else partners_of(run, subjects)
        measured = Measurement(run, [*subjects, *partners], loaded, wanted, rounds, folder, progress)
        measured.measure()
        for warning in measured.warnings():
            progress.warn(warning)
            warnings.append(warning)
        report = _report(measured, subjects, target, overrides, machine, warnings)
    return report


def _report(
    measured: Measurement,
    subjects: Sequence[Subject],
    target_name: str,
    overrides: dict[str, float],
    machine: MachineRecord,
    warnings: list[str],
) -> Report:
    run, target, wanted, labels = measured.run, measured.target, measured.wanted, measured.run.manifest.labels
    rows = [row(subject, measured, target, machine, wanted) for subject in subjects]
    floors = [timing.floor for timing in measured.timings.values() if timing.floor]
    num_flipped, flipped = gallery.flipped(
        measured.photos,
        labels,
        measured.reference,
        {subject.name: answers for subject in subjects if (answers := measured.good(subject.model)) is not None},
    )
    return Report(
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
        target={"name": target_name, **target.as_json()},
        overrides=overrides,
        certify=wanted.certify,
        machine=machine,
        protocol=None if wanted.accuracy_only else _protocol(measured),
        num_test_photos=len(measured.photos.ids),
        original=measured.original(),
        rows=rows,
        noise_floors=floors,
        attribution=measured.attribution,
        layers=measured.layers,
        num_flipped_photos=num_flipped,
        flipped_photos=flipped,
        choice=choose_best(rows, floors[0].floor if floors else 0.0),
        warnings=warnings,
        library_versions=library_versions("tensorflow", *_libraries(subjects), "numpy"),
        wall_times_s={name: round(seconds, 2) for name, seconds in measured.wall_times_s.items()},
        verdict=gate.overall([row.verdict for row in rows]),
    )


def _warnings(target: Target, name: str, machine: MachineRecord) -> list[str]:
    warnings = []
    if machine.logical_cores < target.threads:
        warnings.append(
            f"target {name!r} uses {target.threads} threads, and this machine has {machine.logical_cores} cores"
        )
    guesses = [key for key, basis in target.basis.as_json().items() if basis == "guess"]
    if guesses:
        warnings.append(f"target {name!r}: these limits are guesses: {', '.join(guesses)}")
    return warnings


def _protocol(measured: Measurement) -> Protocol:
    cores = measured.place.cores(measured.target.threads) or None
    return Protocol(name=measured.rounds.name, description=measured.rounds.description, pinned_cores=cores)


def _libraries(subjects: Sequence[Subject]) -> list[str]:
    """Return the names of the distributions (Python packages) with which the artifacts were run."""
    return list(dict.fromkeys(name for one in subjects if one.runtime for name in one.runtime.libraries))
