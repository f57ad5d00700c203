"""The readers of all kinds of file share this: a file's interface, and how names and counts are written down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tledge.printable import one_line
from tledge.records import OperatorCount, TensorRecord

INTEGER_TYPES = frozenset(
    {"INT2", "INT4", "UINT4", "INT8", "UINT8", "INT16", "UINT16", "INT32", "UINT32", "INT64", "UINT64", "BOOL"}
)
FREE = -1  # This stands for a dimension of any size in the shape of a tensor.
_MAX_NAME = 100
_MAX_LISTED = 20


@dataclass(frozen=True)
class Interface:
    """An interface is what a file declares to its user: its inputs, its outputs and its metadata.

    ``metadata`` is the entry that tledge wrote, or None where the file has none.
    """

    inputs: list[TensorRecord]
    outputs: list[TensorRecord]
    metadata: bytes | None


def printable(name: str) -> str:
    """Write a name from a file as one line that a terminal or a page may show. Long names are cut."""
    shown = one_line(name[: _MAX_NAME + 1])
    return shown if len(shown) <= _MAX_NAME else f"{shown[: _MAX_NAME - 3]}..."


def largest(bytes_by_name: Mapping[str, int]) -> list[str]:
    """List at most 20 names with their sizes, as in ``NAME (n bytes)``, the largest first.

    Where there are more, the last entry says how many were left out.
    """
    ordered = sorted(bytes_by_name.items(), key=lambda item: (-item[1], item[0]))
    listed = [f"{name} ({size:,} bytes)" for name, size in ordered[:_MAX_LISTED]]
    return listed + ([f"and {len(ordered) - _MAX_LISTED} more"] if len(ordered) > _MAX_LISTED else [])


def count_operators(operators: Iterable[tuple[str, str, str]]) -> list[OperatorCount]:
    """Count equal operators, each given as (name, kind, data type), and sort them."""
    return [
        OperatorCount.model_validate({"name": name, "kind": kind, "data_type": data_type, "count": count})
        for (name, kind, data_type), count in sorted(Counter(operators).items())
    ]
