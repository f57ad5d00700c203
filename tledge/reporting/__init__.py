"""report.json rendered for people and for machines: pure functions of the record, nothing is measured here."""

from __future__ import annotations

from pathlib import Path

from tledge.files import atomic_write
from tledge.records import Report


def write_all(report: Report, folder: Path) -> None:
    """Write report.md, junit.xml and report.html into ``folder``, which exists, each atomically."""
    from tledge.reporting.html import render as html
    from tledge.reporting.junit import render as junit
    from tledge.reporting.markdown import render as markdown

    for name, text in (("report.md", markdown(report)), ("junit.xml", junit(report)), ("report.html", html(report))):
        atomic_write(folder / name, text.encode())
