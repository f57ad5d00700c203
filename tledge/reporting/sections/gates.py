"""This section shows every gate of every artifact: the measurement, the limit, and why it passed or failed."""

from __future__ import annotations

from tledge.records import Check, Report
from tledge.reporting.section import Section, Values
from tledge.reporting.wording import check_of, significant

_UNITS = {"max_accuracy_drop_points": "points", "max_size_mb": "MB", "max_p95_latency_ms": "ms", "max_memory_mb": "MB"}


def against_limit(check: Check) -> str:
    """Return the measurement and the limit, as ``2.31 ms, limit 5``. The text is empty where the gate has no limit."""
    if check.limit is None:
        return ""
    unit = _UNITS.get(check.name, "")
    if check.measured is None:
        return f"not measured, limit {check.limit:g} {unit}".rstrip()
    return f"{significant(check.measured)} {unit}".rstrip() + f", limit {check.limit:g}"


def _html(report: Report) -> Values:
    check_names = list(dict.fromkeys(check.name for row in report.rows for check in row.checks))
    return {"check_names": check_names, "check_of": check_of, "against_limit": against_limit}


SECTION = Section(order=20, title="Gates", html=_html)
