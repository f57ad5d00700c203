"""This section of report.md says why each other artifact is not the best one.

In report.html and on a terminal, the section of the verdicts says it.
"""

from __future__ import annotations

from tledge.records import Report
from tledge.reporting.section import Section, Values


def _markdown(report: Report) -> Values | None:
    return {} if report.choice.others else None


SECTION = Section(order=55, title="Why not the others", markdown=_markdown)
