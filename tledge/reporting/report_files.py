"""This module writes the files of a report together: report.json and what is rendered from it."""

from __future__ import annotations

import os
from pathlib import Path

from tledge.errors import EnvironmentFault
from tledge.files import sealed, write_together
from tledge.records import Report

REPORT = "report.json"
_DRAWN = ("report.md", "junit.xml", "report.html")


def require_place(folder: Path) -> None:
    """Raise EnvironmentFault where something else stands in the place of the reports.

    Callers ask before anything is measured.
    """
    in_the_way = [path for name in (REPORT, *_DRAWN) if (path := folder / name).is_dir()]
    if os.path.lexists(folder) and not folder.is_dir():
        in_the_way = [folder]
    if in_the_way:
        raise EnvironmentFault(f"{in_the_way[0]}: stands where tledge writes its reports. Move it away.")


def rendered_files(report: Report) -> dict[str, bytes]:
    """Return the contents of report.md, junit.xml and report.html by their names."""
    from tledge.reporting.html import render as html
    from tledge.reporting.junit import render as junit
    from tledge.reporting.markdown import render as markdown

    texts = (markdown(report), junit(report), html(report))
    return {name: text.encode() for name, text in zip(_DRAWN, texts, strict=True)}


def write_all(report: Report, folder: Path) -> None:
    """Write report.json and what is rendered from it into ``folder``, which is made where it is missing.

    All files are rendered before the first is replaced. So a failure leaves the files of the earlier verification,
    which belong together.
    """
    files = {REPORT: sealed(report.as_json()), **rendered_files(report)}
    folder.mkdir(exist_ok=True)
    write_together(folder, files)
