"""This module describes the machine by names and numbers, which stand beside every measurement."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from tledge.records import MachineRecord


def cpu_name() -> str:
    """Return the CPU's model name, or the architecture where the system does not tell."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model"):
                return value.strip()
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Count the logical cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# These extensions decide how fast integer arithmetic is, on x86 and on Arm. /proc/cpuinfo names them so.
_FLAGS = (
    *(
        "avx2",
        "fma",
        "f16c",
        "avx512f",
        "avx512bw",
        "avx512_vnni",
        "avx_vnni",
        "avx512_bf16",
        "avx512_fp16",
        "amx_int8",
    ),
    *("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme"),
)


def cpu_flags() -> list[str]:
    """List the CPU's instruction-set extensions that matter for integer arithmetic; empty where unknown."""
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return []
    for line in info.read_text(errors="replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return [flag for flag in _FLAGS if flag in value.split()]
    return []


def adds_int8_products_in_16_bits(machine: MachineRecord) -> bool:
    """Return whether ONNX Runtime adds int8 products in 16 bits on a machine, two at a time.

    It does on x86 with AVX2 or AVX-512 and without VNNI. The result is False where the flags are unknown.
    """
    flags = set(machine.cpu_flags)
    return bool(flags & {"avx2", "avx512bw"}) and not flags & {"avx512_vnni", "avx_vnni", "amx_int8"}


def governor() -> str | None:
    """Return the frequency governor of the first core; None where the system does not tell."""
    path = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    try:
        return path.read_text().strip()
    except OSError:
        return None


def this_machine() -> MachineRecord:
    """Describe this machine for a report, without its host name."""
    return MachineRecord(
        cpu=cpu_name(),
        architecture=platform.machine(),
        logical_cores=usable_cores(),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        cpu_flags=cpu_flags(),
        governor=governor(),
        load_average=os.getloadavg()[0],
    )
