"""The report as Markdown, for a pull request."""

from __future__ import annotations

from tledge.records import Report
from tledge.reporting import wording
from tledge.reporting.templating import environment


def render(report: Report) -> str:
    """Markdown of a report."""
    return (
        environment(html=False)
        .get_template("report.md.j2")
        .render(
            report=report,
            verdict_line=wording.verdict(report),
            names=wording.short_names(report.rows),
            failed=wording.findings(report, "failed"),
            not_judged=wording.findings(report, "not judged"),
            uncertified=wording.uncertified(report),
            float_speedups={row.artifact: wording.float_speedup(report, row) for row in report.rows},
            worst=wording.WORST_LAYERS,
            num_classes=wording.WORST_CLASSES,
        )
    )
