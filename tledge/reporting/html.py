"""This module renders the report as one HTML file.

The file needs no network and no other file, and it is complete without its script.
"""

from __future__ import annotations

import base64
import hashlib

from tledge.records import Report
from tledge.reporting import wording
from tledge.reporting.sections import sections
from tledge.reporting.templating import anchor, page_file, part, template_environment


def render(report: Report) -> str:
    """Return the HTML page of a report.

    Every text of the record is escaped. The page's Content-Security-Policy allows no script but the page's own.
    """
    import markupsafe

    parts = []
    for name, section in sections().items():
        values = section.html(report) if section.html else None
        if values is not None:
            # The template environment has escaped every text of a part.
            markup = markupsafe.Markup(part(name, "html", report, values))  # noqa: S704
            parts.append((anchor(name), section.title, markup))
    style, script = page_file("css"), page_file("js")
    return (
        template_environment(html=True)
        .get_template("templates/page.html.j2")
        .render(
            report=report,
            verdict_line=wording.verdict_text(report),
            parts=parts,
            # These files of the package are inserted unchanged, because the policy holds their hashes.
            style=markupsafe.Markup(style),  # noqa: S704
            script=markupsafe.Markup(script),  # noqa: S704
            policy=(
                f"default-src 'none'; img-src data:; style-src '{_sha256(style)}'; script-src '{_sha256(script)}'; "
                "base-uri 'none'; form-action 'none'"
            ),
        )
    )


def _sha256(text: str) -> str:
    """Return the source expression of Content Security Policy Level 3, section 2.3.1, that allows an inline element."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
