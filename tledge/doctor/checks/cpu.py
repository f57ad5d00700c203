"""This check describes the CPU, and the instructions that integer arithmetic is fast by."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tledge.doctor.finding import Check, Finding
from tledge.machine import adds_int8_products_in_16_bits, this_machine


def _find(artifacts: Path) -> Iterator[Finding]:
    machine = this_machine()
    cores = "1 core" if machine.logical_cores == 1 else f"{machine.logical_cores} cores"
    governor = f", governor {machine.governor}" if machine.governor else ""
    yield Finding("CPU", f"{machine.cpu}, {machine.architecture}, {cores}, load {machine.load_average:.1f}{governor}")
    flags = ", ".join(machine.cpu_flags) or "not known"
    sums = "; ONNX Runtime adds int8 products in 16 bits here" if adds_int8_products_in_16_bits(machine) else ""
    yield Finding("integer instructions", flags + sums)


CHECK = Check(order=30, find=_find)
