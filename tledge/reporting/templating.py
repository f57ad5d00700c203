"""The Jinja environment of the reports: strict about names, and with the one way of writing figures."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

from tledge.printable import one_line, printable_lines
from tledge.reporting import wording

if TYPE_CHECKING:
    import jinja2

_MARKDOWN = re.compile(r"[\\`*\[\]<>|#~$]|(?<!\w)_|_(?!\w)")


@functools.cache
def environment(*, html: bool) -> jinja2.Environment:
    """Templates of this package. ``html``: everything is escaped for HTML unless it is :class:`markupsafe.Markup`.

    In Markdown a template says ``|md`` for every text that is not its own. In both, only printable text is written.
    """
    import jinja2
    import markupsafe

    def printable(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return (markupsafe.Markup if isinstance(value, markupsafe.Markup) else str)(printable_lines(value))

    made = jinja2.Environment(
        loader=jinja2.PackageLoader("tledge.reporting"),
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
        counted=wording.counted,
        big=wording.big,
        decibels=wording.decibels,
        gate=wording.gate,
        against_limit=wording.against_limit,
        speedup=wording.speedup,
        one_line=one_line,
        noise=wording.noise,
        granularity=wording.granularity,
        oldest_runtime=wording.oldest_runtime,
        operators_by_kind=wording.operators_by_kind,
        worst_classes=wording.worst_classes,
        flips=wording.flips,
        md=markdown_text,
    )
    made.globals.update(SYMBOLS=wording.SYMBOLS)
    return made


def markdown_text(text: str) -> str:
    """Text in one line that Markdown shows as it is, in a table too: no markup, no tag, no link."""
    return _MARKDOWN.sub(lambda found: "\\" + found.group(), one_line(text))
