"""What takes several stages: an export with a budget of accuracy, a verification with its reports."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tledge.accuracy_aware.search import export_within
from tledge.errors import InputError
from tledge.exporters import ONE_PHOTO
from tledge.exporters.export import export as export_as_asked
from tledge.exporters.options import Options
from tledge.progress import Progress
from tledge.records import ExportRecord, Report
from tledge.reporting import require_place, write_all
from tledge.run import Run, find, reserved_reports
from tledge.verification import targets
from tledge.verification.measurement import Wanted
from tledge.verification.verify import verify as measure_and_judge


def export(
    run: Run | str | None,
    format_names: Sequence[str],
    *,
    options: Options | None = None,
    batch: str = ONE_PHOTO,
    jobs: int = 1,
    max_drop_points: float | None = None,
    artifacts: Path | None = None,
    progress: Progress | None = None,
) -> list[ExportRecord]:
    """Convert a run to the named formats (``all``: those that are not made on request only) and write ``exports/<format>/``.

    ``run``: a run, its name, or None for the latest. ``options``: of integer formats. ``batch``: photos that a file takes at a
    time, ``1`` or ``any``. ``jobs``: how many are converted at a time; a search knows one. ``max_drop_points``: of accuracy on
    the validation photos; with it each int8 format becomes the first file that is shown to lose no more, or the best where none
    is, which the record's ``search`` says. What is raised, :func:`tledge.exporters.export.export` and
    :func:`tledge.accuracy_aware.search.export_within` say.
    """
    if max_drop_points is None:
        return export_as_asked(
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
    progress: Progress | None = None,
) -> Report:
    """Run every artifact of a run (or those of ``format_names``) against the original, and write and return the report.

    report.json, report.md, junit.xml and report.html are written into the run's folder ``verification`` together. No other
    process may verify the run meanwhile. The verdict is in the report; what is raised,
    :func:`tledge.verification.verify.verify` says.
    """
    targets.load(target)  # a mistake in what was asked for is told before a run is looked for
    run = find(run, artifacts)
    with reserved_reports(run):
        require_place(run.reports())
        report = measure_and_judge(run, target=target, format_names=format_names, wanted=wanted, progress=progress)
        write_all(report, run.reports())
    return report
