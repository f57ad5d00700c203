"""What the readers of all kinds of file share: a file's interface, and how names and counts are written down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tledge.printable import one_line
from tledge.records import OperatorCount, TensorRecord

INTEGER_TYPES = frozenset(
    {"INT2", "INT4", "UINT4", "INT8", "UINT8", "INT16", "UINT16", "INT32", "UINT32", "INT64", "UINT64", "BOOL"}
)
FREE = -1  # stands for a dimension of any size in the shape of a tensor
_MAX_NAME = 100
_MAX_LISTED = 20


@dataclass(frozen=True)
class Interface:
    """What a file says of itself to its user. ``metadata``: tledge's own entry, None where there is none."""

    inputs: list[TensorRecord]
    outputs: list[TensorRecord]
    metadata: bytes | None


def printable(name: str) -> str:
    """A name from a file in one line that a terminal or a page may show, cut where it is long."""
    shown = one_line(name[: _MAX_NAME + 1])
    return shown if len(shown) <= _MAX_NAME else f"{shown[: _MAX_NAME - 3]}..."


def largest(bytes_by_name: Mapping[str, int]) -> list[str]:
    """``NAME (n bytes)``, the largest first, at most 20, and how many were left out."""
    ordered = sorted(bytes_by_name.items(), key=lambda item: (-item[1], item[0]))
    listed = [f"{name} ({size:,} bytes)" for name, size in ordered[:_MAX_LISTED]]
    return listed + ([f"and {len(ordered) - _MAX_LISTED} more"] if len(ordered) > _MAX_LISTED else [])


def count_operators(operators: Iterable[tuple[str, str, str]]) -> list[OperatorCount]:
    """(name, kind, data type) of every operator, counted and sorted."""
    return [
        OperatorCount.model_validate({"name": name, "kind": kind, "data_type": data_type, "count": count})
        for (name, kind, data_type), count in sorted(Counter(operators).items())
    ]
