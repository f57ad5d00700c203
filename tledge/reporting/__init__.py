"""This package writes report.json and renders it for people and for machines. Nothing is measured here."""

from tledge.reporting.report_files import REPORT, rendered_files, require_place, write_all

__all__ = ["REPORT", "rendered_files", "require_place", "write_all"]
