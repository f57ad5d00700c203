"""These functions join several stages: an export within a budget of accuracy, and a verification with reports."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tledge.accuracy_aware.search import export_within
from tledge.errors import InputError
from tledge.exporters import ONE_PHOTO
from tledge.exporters.export import export_formats
from tledge.exporters.options import Options
from tledge.importing.reference import reference_run, require_files
from tledge.progress import Progress
from tledge.records import ExportRecord, Report
from tledge.reporting import require_place, write_all
from tledge.run import Run, find_run, reserved_reports
from tledge.verification import targets
from tledge.verification.measurement import Wanted
from tledge.verification.verify import verify_artifacts


def export(
    run: Run | str | None,
    format_names: Sequence[str],
    *,
    options: Options | None = None,
    batch: str = ONE_PHOTO,
    jobs: int = 1,
    max_drop_points: float | None = None,
    artifacts: Path | None = None,
    dataset: str | None = None,
    progress: Progress | None = None,
) -> list[ExportRecord]:
    """Convert a run to the named formats, and write each artifact into ``exports/FORMAT/`` after its audit.

    The arguments, the result and the errors are those of :func:`tledge.api.export`, which checks them.
    """
    if dataset is not None:
        run = find_run(run, artifacts, dataset)
    if max_drop_points is None:
        return export_formats(
            run, format_names, options=options, batch=batch, jobs=jobs, artifacts=artifacts, progress=progress
        )
    if jobs != 1:
        raise InputError("--max-drop tries one file after another: leave out --jobs")
    return export_within(
        max_drop_points, run, format_names, options=options, batch=batch, artifacts=artifacts, progress=progress
    )


def verify(
    run: Run | str | None = None,
    *,
    target: str = targets.DEFAULT,
    format_names: Sequence[str] = (),
    wanted: Wanted | None = None,
    artifacts: Path | None = None,
    dataset: str | None = None,
    files: Sequence[Path] = (),
    file_input: str | None = None,
    against: str | None = None,
    progress: Progress | None = None,
) -> Report:
    """Run the artifacts of a run against the original, and write the report in four forms.

    ``report.json``, ``report.md``, ``junit.xml`` and ``report.html`` are written together into the run's folder
    ``verification``.

    The arguments, the result and the errors are those of :func:`tledge.api.verify`, which checks them.
    """
    targets.load(target)  # a wrong target is reported before a run is looked for
    if against is not None:
        require_files(files, run, format_names)
        run, dataset = reference_run(against, dataset, progress), None
    run = find_run(run, artifacts, dataset)
    with reserved_reports(run):
        require_place(run.reports())
        report = verify_artifacts(
            run,
            target=target,
            format_names=format_names,
            wanted=wanted,
            files=files,
            file_input=file_input,
            progress=progress,
        )
        write_all(report, run.reports())
    return report
