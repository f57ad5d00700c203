"""This module finds the reports of earlier verifications."""

from __future__ import annotations

from pathlib import Path

from tledge.errors import ArtifactError, InputError
from tledge.files import write_together
from tledge.records import Report
from tledge.reporting.report_files import REPORT, rendered_files, require_place
from tledge.run import Run, find_run, reserved_reports


def stored_report(name: str | None, artifacts: Path | None = None) -> tuple[Report, Path]:
    """Return the report of a run and its folder. Where no run is named, it is the latest one.

    Raises InputError where there is no such run or it was not verified. Raises ArtifactError where the run or the
    report changed since it was written, or the report belongs to another build of the run.
    """
    return _stored(find_run(name, artifacts))


def _stored(run: Run) -> tuple[Report, Path]:
    path = run.reports() / REPORT
    remedy = f"tledge verify --run {run.name}"
    if not path.is_file():
        raise InputError(f"run {run.name} has no report yet. Verify first: {remedy}")
    report = Report.load(path, f"Verify again: {remedy}.")
    if report.manifest_sha256 != run.manifest_sha256:
        raise ArtifactError(f"{path}: of another build of {run.name}. Verify again: {remedy}.")
    return report, run.reports()


def named_report(name: str, artifacts: Path | None = None) -> Report:
    """Return the report of a run, or the one in a file where ``name`` is a path that ends in ``.json``.

    Raises InputError where there is no such file, and what :func:`stored_report` raises.
    """
    if not name.endswith(".json"):
        return stored_report(name, artifacts)[0]
    if not Path(name).is_file():
        raise InputError(f"report {name}: no such file")
    return Report.load(Path(name), "Verify that run again with this tledge.")


def write_again(name: str | None, artifacts: Path | None = None) -> tuple[Report, Path]:
    """Render report.md, junit.xml and report.html of a run again from its report.json.

    Raises InputError where another process is verifying the run, and what :func:`stored_report` raises.
    """
    run = find_run(name, artifacts)
    with reserved_reports(run):
        report, folder = _stored(run)
        require_place(folder)
        write_together(folder, rendered_files(report))
    return report, folder
