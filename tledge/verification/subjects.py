"""What is verified: the artifacts of a run that a target runs, each on each of its runtimes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tledge.bench.bench import Runnable
from tledge.errors import ArtifactError, InputError, unknown
from tledge.records import ExportRecord
from tledge.run import Run
from tledge.runtimes import Runtime, runtimes_for


@dataclass(frozen=True)
class Subject:
    """One artifact on one runtime. ``problem``: why it is not run, where its file or record is broken.

    ``is_judged``: False for a float32 artifact that nobody named, which runs only to compare a judged one with.
    """

    format: str
    record: ExportRecord | None
    runtime: Runtime | None
    path: Path
    problem: str | None
    is_judged: bool = True

    @property
    def name(self) -> str:
        return f"{self.format} on {self.runtime.name}" if self.runtime else self.format

    @property
    def model(self) -> Runnable:
        return Runnable(self.name, self.path, self.runtime.name if self.runtime else "")


def subjects_of(
    run: Run, format_names: Sequence[str], usable: Sequence[Runtime], target: str
) -> tuple[list[Subject], list[str]]:
    """List the artifacts of a run, or those of ``format_names``, on each of ``usable`` that runs them, and warn of the others.

    Raises InputError for a run without artifacts, an unknown name, or a target that runs none of them.
    """
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
        found = _subjects(run, name, usable)
        subjects += found
        if not found:
            left_out.append(name)
    if not subjects:
        raise InputError(
            f"target {target!r} runs {', '.join(one.name for one in usable)}, and no artifact of run {run.name} is for them"
        )
    if left_out:
        return subjects, [f"not verified, because target {target!r} has no runtime for them: {', '.join(left_out)}"]
    return subjects, []


def partners_of(run: Run, subjects: Sequence[Subject]) -> list[Subject]:
    """The whole float32 artifacts of the run that ``subjects`` lacks on runtimes of its own, not to be judged."""
    standing = {(subject.format, subject.runtime) for subject in subjects}
    runtimes = list(dict.fromkeys(subject.runtime for subject in subjects if subject.runtime))
    found = [subject for name in run.export_names() for subject in _subjects(run, name, runtimes)]
    return [
        Subject(one.format, one.record, one.runtime, one.path, None, is_judged=False)
        for one in found
        if one.record and one.record.promise == "float32" and (one.format, one.runtime) not in standing
    ]


def _subjects(run: Run, name: str, usable: Sequence[Runtime]) -> list[Subject]:
    """List one artifact on each of these runtimes; a broken one alone, unless its file is of another runtime."""
    files = [path for path in run.export_folder(name).iterdir() if runtimes_for(path)]
    if files and not any(path.suffix in runtime.suffixes for path in files for runtime in usable):
        return []
    try:
        record = run.export_record(name)
    except ArtifactError as error:
        return [Subject(name, None, None, run.export_folder(name), str(error))]
    path = run.export_folder(name) / record.file
    return [Subject(name, record, runtime, path, None) for runtime in usable if path.suffix in runtime.suffixes]
