"""This module converts records that an earlier tledge wrote. Each function takes one version and returns the current one.

What is no record of its version ends in a KeyError, TypeError or the like, or does not fit the current version.
"""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def manifest_of_1(record: Json) -> Json:
    """Convert a manifest of version 1, which has whole confusion matrices."""
    for scores in record["metrics"].values():
        scores["confusions"] = _without_zeros(scores.pop("confusion_matrix"))
    return {**record, "schema_version": 2}


def report_of_3(record: Json) -> Json:
    """Convert a report of version 3, which has whole confusion matrices, and the original's beside each artifact's."""
    original = record["original"]
    drifts = [drift for drift in (*(row["drift"] for row in record["rows"]), original["cpu_drift"]) if drift]
    of_original = [_without_zeros(drift.pop("original_confusion_matrix")) for drift in drifts]
    for drift in drifts:
        drift["confusions"] = _without_zeros(drift.pop("confusion_matrix"))
    original["confusions"] = of_original[0] if of_original else None
    return {**record, "schema_version": 4}


def _without_zeros(matrix: list[list[int]]) -> list[list[int]]:
    return [
        [actual, predicted, count]
        for actual, line in enumerate(matrix)
        for predicted, count in enumerate(line)
        if count
    ]
