"""This module renders the report as Markdown, for a pull request."""

from __future__ import annotations

from tledge.records import Report
from tledge.reporting.sections import sections
from tledge.reporting.templating import part


def render(report: Report) -> str:
    """Return the Markdown of a report: the parts of its sections, with a blank line between them."""
    parts = []
    for name, section in sections().items():
        values = section.markdown(report) if section.markdown else None
        if values is not None:
            parts.append(part(name, "md", report, values).strip("\n"))
    return "\n\n".join(parts) + "\n"
