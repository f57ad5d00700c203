"""This section says what was measured, where and with what: data, model, files, machine, target and versions."""

from __future__ import annotations

from tledge.records import Report
from tledge.reporting.section import Section, Values


def _values(report: Report) -> Values:
    return {}


SECTION = Section(order=120, title="Provenance", html=_values, markdown=_values)
