"""This section shows what the artifacts' files hold: operators, types, constants, inputs, outputs and versions."""

from __future__ import annotations

from collections import Counter

from tledge.records import Audit, Report
from tledge.reporting.section import Section, Values


def _granularity(audit: Audit) -> str:
    """Return how many weights are quantized per-channel and per-tensor, as ``53 per-channel, 1 per-tensor``."""
    return ", ".join(f"{count} {name}" for name, count in audit.weight_granularity.items()) or "none"


def _oldest_runtime(audit: Audit) -> str:
    """Return the oldest runtime that can run a TFLite file, as the file says, or the opset of an ONNX file."""
    opset = audit.file_versions.get("opset")
    if audit.min_runtime_version:
        return f"TensorFlow Lite {audit.min_runtime_version}"
    return "not told" if opset is None else f"any of opset {opset}"


def _operators_by_kind(audit: Audit) -> list[tuple[str, int]]:
    """Return how many operators compute in each kind of arithmetic, the most frequent kind first."""
    counts: Counter[str] = Counter()
    for operator in audit.operators:
        counts[operator.kind] += operator.count
    return counts.most_common()


def _values(report: Report) -> Values:
    return {
        "granularity": _granularity,
        "oldest_runtime": _oldest_runtime,
        "operators_by_kind": _operators_by_kind,
    }


SECTION = Section(order=100, title="Audit", html=_values, markdown=_values)
