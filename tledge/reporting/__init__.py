"""report.json rendered for people and for machines: pure functions of the record, nothing is measured here."""

from tledge.reporting.report_files import REPORT, rendered_files, require_place, write_all

__all__ = ["REPORT", "rendered_files", "require_place", "write_all"]
