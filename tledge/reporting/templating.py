"""This module makes the Jinja environment of the reports.

An unknown name in a template is an error. Figures are written the same way in every report.
"""

from __future__ import annotations

import functools
import re
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal

from tledge.printable import counted, one_line, printable_lines
from tledge.records import Report
from tledge.reporting import wording
from tledge.reporting.section import Values
from tledge.reporting.sections import sections

if TYPE_CHECKING:
    import jinja2

_MARKDOWN = re.compile(r"[\\`*\[\]<>|#~$]|(?<!\w)_|_(?!\w)")


def part(name: str, kind: Literal["html", "md"], report: Report, values: Values) -> str:
    """Return one section's part of a report, from the template beside the section's module."""
    template = template_environment(html=kind == "html").get_template(f"sections/{name}.{kind}.j2")
    names = wording.short_names(report.rows)
    return template.render(report=report, names=names, anchor=anchor(name), **values)


def anchor(name: str) -> str:
    """Return the id under which a section is reached in report.html."""
    return name.replace("_", "-")


def page_file(kind: Literal["css", "js"]) -> str:
    """Return the page's style or script, followed by those of the sections that have one beside their module."""
    folder = resources.files("tledge.reporting")
    own = (folder / "sections" / f"{name}.{kind}" for name in sections())
    files = [folder / "templates" / f"report.{kind}", *(file for file in own if file.is_file())]
    return "".join(file.read_text(encoding="utf-8") for file in files)


@functools.cache
def template_environment(*, html: bool) -> jinja2.Environment:
    """Return the environment of this package's templates, by their paths in it.

    With ``html``, everything is escaped for HTML unless it is :class:`markupsafe.Markup`. In Markdown a template uses
    the filter ``|md`` for every text that is not its own. Only printable text is written in either.
    """
    import jinja2
    import markupsafe

    def printable(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return (markupsafe.Markup if isinstance(value, markupsafe.Markup) else str)(printable_lines(value))

    made = jinja2.Environment(
        loader=jinja2.PackageLoader("tledge.reporting", "."),
        autoescape=html,  # noqa: S701
        finalize=printable,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters.update(
        percent=wording.percent,
        signed=wording.signed,
        number=wording.number,
        significant=wording.significant,
        megabytes=wording.megabytes,
        percent_interval=wording.percent_interval,
        signed_interval=wording.signed_interval,
        counted=counted,
        big=wording.big,
        gate=wording.gate,
        speedup=wording.speedup_text,
        one_line=one_line,
        noise=wording.noise,
        md=markdown_text,
    )
    made.globals.update(SYMBOLS=wording.SYMBOLS)
    return made


def markdown_text(text: str) -> str:
    """Escape a text for Markdown, in one line, so that it is shown as it is, in a table too."""
    return _MARKDOWN.sub(lambda found: "\\" + found.group(), one_line(text))
