"""The report as one HTML file that needs nothing else: no network, no other file, and no script to be complete."""

from __future__ import annotations

import base64
import hashlib

from tledge.records import Report
from tledge.reporting import charts, views, wording
from tledge.reporting.templating import environment


def render(report: Report) -> str:
    """The page. Every text of the record is escaped, and its Content-Security-Policy runs no script but its own."""
    import markupsafe

    templates = environment(html=True)
    style, script = templates.get_template("report.css").render(), templates.get_template("report.js").render()
    verdicts = [row.verdict for row in report.rows]
    return templates.get_template("report.html.j2").render(
        report=report,
        # The package's own files, as they are: the policy holds their hashes.
        style=markupsafe.Markup(style),  # noqa: S704
        script=markupsafe.Markup(script),  # noqa: S704
        policy=(
            f"default-src 'none'; img-src data:; style-src '{_sha256(style)}'; script-src '{_sha256(script)}'; "
            "base-uri 'none'; form-action 'none'"
        ),
        names=wording.short_names(report.rows),
        num_kept=len(verdicts) - verdicts.count("failed"),
        verdict_line=wording.verdict(report),
        every_budget=wording.every_budget(report),
        num_certified=verdicts.count("certified"),
        failed=wording.findings(report, "failed"),
        not_judged=wording.findings(report, "not judged"),
        uncertified=wording.uncertified(report),
        float_speedups={row.artifact: wording.float_speedup(report, row) for row in report.rows},
        original_speedups={row.artifact: wording.original_speedup(report, row) for row in report.rows},
        check_names=list(dict.fromkeys(check.name for row in report.rows for check in row.checks)),
        check_of=wording.check_of,
        scatters=[chart for width in charts.WIDTHS if (chart := charts.scatter(report, width))],
        forests=[forest for width in charts.WIDTHS if (forest := charts.forest(report, width))],
        strips=[strips for width in charts.WIDTHS if (strips := charts.strips(report, width))],
        class_rows=views.class_rows(report),
        matrices=views.matrices(report),
        timings=views.timings(report),
        gallery=views.gallery(report),
        num_worst=wording.WORST_LAYERS,
    )


def _sha256(text: str) -> str:
    """The source expression of Content Security Policy Level 3, section 2.3.1, that allows an inline element."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
