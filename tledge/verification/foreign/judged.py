"""This module judges what a foreign file holds. It has no export record, so nothing promises what it should hold."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tledge.printable import few
from tledge.records import Audit, Check
from tledge.verification.foreign.found import Foreign
from tledge.verification.gate import promise_gate

_CALLED_INT8 = re.compile(r"int8|i8\b|quant|qdq|8bit", re.IGNORECASE)
_CONVERSIONS = frozenset({"QUANTIZE", "DEQUANTIZE", "QuantizeLinear", "DequantizeLinear", "Cast", "CAST"})


def foreign_contract(foreign: Foreign) -> Check:
    """Return the gate ``contract`` of a foreign file. It fails where the classes stand in another order than the run's."""
    record = foreign.record
    return promise_gate("contract", foreign.problems, f"takes {record.input}; gives {record.output}")


def foreign_warnings(foreign: Foreign, found: Audit | None) -> Iterator[str]:
    """Yield warnings of a foreign file, such as float operators in one whose name says int8."""
    yield from foreign.warnings
    if found is None or not _CALLED_INT8.search(foreign.path.name):
        return
    floats = [
        f"{one.name} ({one.data_type}) x{one.count}"
        for one in found.operators
        if one.kind in ("float", "hybrid") and one.name not in _CONVERSIONS
    ]
    if floats:
        yield f"its name says int8, and it holds float operators: {few(floats, ', ')}"
