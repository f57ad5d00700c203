"""What takes several stages: a verification with its reports."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tledge.progress import Progress
from tledge.records import Report
from tledge.reporting import require_place, write_all
from tledge.run import Run, artifacts_root, open_run
from tledge.verification import targets
from tledge.verification.measurement import Wanted
from tledge.verification.verify import verify as measure_and_judge


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

    report.json, report.md, junit.xml and report.html are written into the run's folder ``verification`` together.
    The verdict is in the report; what is raised, :func:`tledge.verification.verify.verify` says.
    """
    targets.load(target)  # a mistake in what was asked for is told before a run is looked for
    if not isinstance(run, Run):
        run = open_run(artifacts_root(artifacts), run)
    require_place(run.reports())
    report = measure_and_judge(run, target=target, format_names=format_names, wanted=wanted, progress=progress)
    write_all(report, run.reports())
    return report
