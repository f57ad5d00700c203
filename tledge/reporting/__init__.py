"""report.json rendered for people and for machines: pure functions of the record, nothing is measured here."""

from __future__ import annotations

from tledge.reporting.written import REPORT, drawn, require_place, write_all

__all__ = ["REPORT", "drawn", "require_place", "write_all"]
