"""A run is a folder with one trained model and all that was made from it.

A run is built in a hidden folder beside its final place, and renamed when it is whole. Whatever stands under a run's
name was thus finished. Opening a run checks every file against its manifest.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from tledge.errors import ArtifactError, InputError, TledgeError, unknown
from tledge.files import read_file, sha256_file
from tledge.locks import reserved
from tledge.printable import one_line
from tledge.records import MIXED_SUFFIX, ExportRecord, Manifest, Record

MANIFEST = "manifest.json"
LATEST = "latest"
UNFINISHED = ".unfinished-"  # prefix of the folder of a build that may be resumed, before the name of its run
ELSEWHERE = "Name another folder with --artifacts."
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def artifacts_root(folder: Path | None = None) -> Path:
    """Return the folder of the runs: ``folder``, ``$TLEDGE_ARTIFACTS``, or ``artifacts`` in the working directory."""
    return folder or Path(os.environ.get("TLEDGE_ARTIFACTS", "artifacts"))


def now_utc() -> str:
    """Return the time in UTC as ISO 8601, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def library_versions(*names: str) -> dict[str, str]:
    """Return the installed version of each distribution by its name."""
    from importlib.metadata import version

    return {name: version(name) for name in names}


@dataclass(frozen=True)
class Run:
    """A run is whole: :func:`open_run` checks it and makes this object.

    ``moved_to`` names the data set or folder that holds the run's photos now. None means that they are where they were.
    """

    folder: Path
    manifest: Manifest
    moved_to: str | None = None

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def manifest_sha256(self) -> str:
        return sha256_file(self.folder / MANIFEST)

    def export_folder(self, format_name: str) -> Path:
        """Return the folder in which the artifact of a format stands."""
        return self.folder / "exports" / format_name

    def export_names(self) -> list[str]:
        """List the formats that something was exported to, whole or not.

        Hidden files are left by an export that was stopped, and do not count. Raises ArtifactError for a folder whose
        name no format can have.
        """
        folders = sorted(path for path in (self.folder / "exports").glob("*") if path.is_dir())
        for folder in folders:
            if folder.name.encode(errors="replace") != os.fsencode(folder.name):
                raise ArtifactError(f"{folder}: its name is not UTF-8, so it is no format's. Move it out of the run.")
        return [path.name for path in folders if any(not inner.name.startswith(".") for inner in path.iterdir())]

    def exports(self, format_names: Iterable[str] | None = None) -> dict[str, ExportRecord]:
        """Return the run's artifacts by format (all, or those of ``format_names``), each checked against its record.

        Raises ArtifactError for an artifact that is damaged, lacks its record, or was exported from another build.
        """
        return {
            name: self.export_record(name) for name in (self.export_names() if format_names is None else format_names)
        }

    def export_record(self, format_name: str) -> ExportRecord:
        """Return the record of one artifact, once its file is checked against it.

        Raises ArtifactError as :meth:`exports` does.
        """
        folder = self.export_folder(format_name)
        # Until the record is read, it is not known whether there is a format of this name.
        record = ExportRecord.load(folder / "export.json", f"Export it again, or remove {folder}.")
        if record.format != format_name:
            raise ArtifactError(f"{folder}: its record is of {record.format}. Rename the folder to that, or remove it.")
        remedy = f"Run tledge export --run {self.name} --format {_export_options(record)} again."
        check_file(folder / record.file, record.sha256, "export.json", remedy)
        if record.size_bytes != (folder / record.file).stat().st_size:
            raise ArtifactError(f"{folder}: its record tells of {record.size_bytes} bytes. {remedy}")
        if record.source_manifest_sha256 != self.manifest_sha256:
            raise ArtifactError(f"{folder}: exported from another build of {self.name}. {remedy}")
        return record

    def reports(self) -> Path:
        """Return the folder of the reports."""
        return self.folder / "verification"


def _export_options(record: ExportRecord) -> str:
    """Return what follows ``--format`` to make an artifact again. A mixed file is what a search for its base format makes."""
    base = record.format.removesuffix(MIXED_SUFFIX)
    return (
        record.format
        if base == record.format or not record.search
        else f"{base} --max-drop {record.search.max_drop_points:g}"
    )


def check_file(path: Path, sha256: str, listed_in: str, remedy: str) -> None:
    """Raise ArtifactError, whose message ends in the sentence ``remedy``, unless the file has the hash it was written with."""
    if not path.is_file():
        raise ArtifactError(f"{path}: missing, and listed in {listed_in}. {remedy}")
    if sha256_file(path) != sha256:
        raise ArtifactError(
            f"{path}: changed or cut short since it was written (sha256 differs from {listed_in}). {remedy}"
        )


def check_name(name: str) -> None:
    """Raise InputError unless ``name`` is one plain file name, which can't lead out of the artifacts folder.

    The name ``latest`` is refused too.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"run name {name!r}: use letters, digits, '.', '_' and '-', at most 100, starting with a letter or digit"
        )
    if name == LATEST:
        raise InputError(f"run name {name!r}: kept for the file that names the latest run. Choose another --run.")


def run_names(root: Path) -> list[str]:
    """List the names of the folders that hold a manifest, oldest first."""
    found = [path for path in root.glob(f"*/{MANIFEST}") if not path.parent.name.startswith(".")]
    return [path.parent.name for path in sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.parent.name))]


class RunSummary(Record):
    """This record is a line of the list of runs.

    ``problem`` says why the run can't be used; it is None where the run is whole.
    """

    name: str
    created_utc: str
    dataset: str
    test_accuracy: float | None
    artifacts: list[str]
    is_latest: bool
    problem: str | None


def list_runs(root: Path) -> list[RunSummary]:
    """List every run of a folder, oldest first; a damaged run is listed with its problem."""
    latest = _latest(root) if (root / LATEST).is_file() else None
    summaries = []
    for name in run_names(root):
        run, artifacts, problem = None, [], None
        try:
            run = open_run(root, name)
            artifacts = list(run.exports())
        except TledgeError as error:
            problem = str(error)
        summaries.append(
            RunSummary(
                name=name,
                created_utc=run.manifest.created_utc if run else "",
                dataset=run.manifest.dataset.name if run else "",
                test_accuracy=run.manifest.metrics["test"].accuracy if run else None,
                artifacts=artifacts,
                is_latest=name == latest,
                problem=problem and one_line(problem),  # JSON holds no part of a name that isn't UTF-8
            )
        )
    return summaries


def _latest(root: Path) -> str:
    """Read the name of the latest run from its marker.

    Raises ArtifactError where the marker can't be read.
    """
    try:
        return read_file(root / LATEST, 1 << 10).decode(errors="replace").strip()
    except OSError as error:
        raise ArtifactError(f"{root / LATEST}: {error.strerror}. Name a run with --run.") from error


def open_run(root: Path, name: str | None = None) -> Run:
    """Open a run, the latest if none is named, and check every file of it.

    Raises InputError where there is no such run, ArtifactError where a file changed since it was written.
    """
    if name is None:
        latest = root / LATEST
        if not latest.is_file():
            standing = run_names(root)
            if standing:
                raise InputError(
                    f"{root} does not say which run is the latest. Name one with --run: {', '.join(standing)}."
                )
            raise InputError(f"no run in {root} yet. Build one first: tledge build --dataset digits --backbone bundled")
        name = _latest(root)
    check_name(name)
    folder = root / name
    if not folder.is_dir():
        raise unknown("run", name, run_names(root), "Build one with tledge build, or list them with tledge runs.")
    remedy = "Build the run again with tledge build."
    manifest = Manifest.load(folder / MANIFEST, remedy)
    for file, sha256 in manifest.files_sha256.items():
        check_file(folder / file, sha256, MANIFEST, remedy)
    return Run(folder, manifest)


def find_run(run: Run | str | None, artifacts: Path | None = None, dataset: str | None = None) -> Run:
    """Open the run of that name in the folder of the runs, or the latest if none is named.

    A run that is open already is returned as it is. ``dataset`` names the data set or folder that holds its photos now.
    Raises InputError where there is no such run, ArtifactError where a file of it changed since it was written.
    """
    found = run if isinstance(run, Run) else open_run(artifacts_root(artifacts), run)
    return found if dataset is None else replace(found, moved_to=dataset)


def reserved_reports(run: Run) -> contextlib.AbstractContextManager[None]:
    """Keep other processes from verifying a run and writing its reports.

    Raises InputError where another process verifies it already.
    """
    return reserved_part(run, "verification", f"verifying run {run.name}. Wait for its end.")


def reserved_part(run: Run, part: str, busy: str) -> contextlib.AbstractContextManager[None]:
    """Hold a part of a run, as :func:`tledge.locks.reserved` does.

    The lock file lies beside the run's folder, because everything inside belongs to the run.
    """
    return reserved(run.folder.parent, f"{run.name}@{part}", busy)  # no run has an @ in its name


def tree_hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below ``folder``, by its relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in files}
