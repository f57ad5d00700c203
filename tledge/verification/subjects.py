"""This module lists what is verified: the artifacts of a run that a target runs, and files that other tools made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tledge.bench.bench import Runnable
from tledge.errors import ArtifactError, InputError, unknown
from tledge.records import ExportRecord
from tledge.run import Run
from tledge.runtimes import Runtime, runtimes_for
from tledge.verification.foreign.found import Foreign


@dataclass(frozen=True)
class Subject:
    """A subject is one artifact on one runtime.

    ``problem`` says why the artifact is not run, where its file or record is broken. ``is_judged`` is False for a
    float32 artifact that was not asked for and runs only as the other side of a comparison. ``foreign`` describes a file
    that another tool made, which has no record.
    """

    format: str
    record: ExportRecord | None
    runtime: Runtime | None
    path: Path
    problem: str | None
    is_judged: bool = True
    foreign: Foreign | None = None

    @property
    def name(self) -> str:
        return f"{self.format} on {self.runtime.name}" if self.runtime else self.format

    @property
    def model(self) -> Runnable:
        runtime = self.runtime.name if self.runtime else ""
        if self.foreign is None:
            return Runnable(self.name, self.path, runtime)
        return Runnable(self.name, self.path, runtime, adapters=self.foreign.adapters, photos=self.foreign.photos)


def subjects_of(
    run: Run, format_names: Sequence[str], usable: Sequence[Runtime], target: str, *, has_files: bool = False
) -> tuple[list[Subject], list[str]]:
    """List the artifacts of a run on each usable runtime that runs them, and return a warning for the others.

    Where ``format_names`` are given, only their artifacts are listed. ``has_files`` says that files of other tools are
    verified too: then the run need not have artifacts.

    Raises InputError for a run without artifacts, an unknown name, or a target that runs none of them.
    """
    names = run.export_names()
    if not names and not format_names and has_files:
        return [], []
    if not names:
        raise InputError(
            f"run {run.name} has no artifacts yet. Export one first: tledge export --run {run.name} --format all"
        )
    for name in format_names:
        if name not in names:
            raise unknown(
                f"artifact of run {run.name}",
                name,
                names,
                "Make others with tledge export: its --help lists the formats.",
            )
    subjects: list[Subject] = []
    left_out = []
    for name in (name for name in names if not format_names or name in format_names):
        found = _subjects(run, name, usable)
        subjects += found
        if not found:
            left_out.append(name)
    if not subjects and not has_files:
        raise InputError(
            f"target {target!r} runs {', '.join(one.name for one in usable)}, and no artifact of run {run.name} is for them"
        )
    if left_out:
        return subjects, [f"not verified, because target {target!r} has no runtime for them: {', '.join(left_out)}"]
    return subjects, []


def foreign_subjects(found: Sequence[tuple[Foreign, Runtime]]) -> list[Subject]:
    """Return the subjects of files that other tools made, each with a runtime."""
    return [Subject(file.name, None, runtime, file.path, file.fault, foreign=file) for file, runtime in found]


def partners_of(run: Run, subjects: Sequence[Subject]) -> list[Subject]:
    """List the float32 artifacts of the run that ``subjects`` lacks, on the runtimes of ``subjects``.

    They are there to compare with and are not judged. Artifacts whose record can't be read are left out.
    """
    standing = {(subject.format, subject.runtime) for subject in subjects}
    runtimes = list(dict.fromkeys(subject.runtime for subject in subjects if subject.runtime))
    found = [subject for name in run.export_names() for subject in _subjects(run, name, runtimes)]
    return [
        Subject(one.format, one.record, one.runtime, one.path, None, is_judged=False)
        for one in found
        if one.record and one.record.promise == "float32" and (one.format, one.runtime) not in standing
    ]


def _subjects(run: Run, name: str, usable: Sequence[Runtime]) -> list[Subject]:
    """List one artifact on each of these runtimes, or nothing where its file is for other runtimes.

    An artifact whose record can't be read is listed once, without a runtime.
    """
    files = [path for path in run.export_folder(name).iterdir() if runtimes_for(path)]
    if files and not any(path.suffix in runtime.suffixes for path in files for runtime in usable):
        return []
    try:
        record = run.export_record(name)
    except ArtifactError as error:
        return [Subject(name, None, None, run.export_folder(name), str(error))]
    path = run.export_folder(name) / record.file
    return [Subject(name, record, runtime, path, None) for runtime in usable if path.suffix in runtime.suffixes]
