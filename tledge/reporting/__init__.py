"""report.json rendered for people and for machines: pure functions of the record, nothing is measured here."""

from __future__ import annotations

from pathlib import Path

from tledge.files import sealed, write_together
from tledge.records import Report

REPORT = "report.json"


def drawn(report: Report) -> dict[str, bytes]:
    """report.md, junit.xml and report.html by their names."""
    from tledge.reporting.html import render as html
    from tledge.reporting.junit import render as junit
    from tledge.reporting.markdown import render as markdown

    texts = {"report.md": markdown(report), "junit.xml": junit(report), "report.html": html(report)}
    return {name: text.encode() for name, text in texts.items()}


def write_all(report: Report, folder: Path) -> None:
    """Write report.json and what is drawn from it into ``folder``, which is made where it is missing.

    All are drawn before the first is replaced: a failure leaves the reports of the verification before, which belong
    together.
    """
    files = {REPORT: sealed(report.as_json()), **drawn(report)}
    folder.mkdir(exist_ok=True)
    write_together(folder, files)
