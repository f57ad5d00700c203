"""What this machine is: names and numbers that stand beside every measurement."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from tledge.records import MachineRecord


def cpu_name() -> str:
    """The CPU's model name, or the architecture where the system does not tell."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model"):
                return value.strip()
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Logical cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# What decides how fast integer arithmetic is: x86 and Arm, as /proc/cpuinfo names them.
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
    """Those instruction-set extensions of the CPU that matter for integer arithmetic; empty where unknown."""
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return []
    for line in info.read_text(errors="replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return [flag for flag in _FLAGS if flag in value.split()]
    return []


def adds_int8_products_in_16_bits(machine: MachineRecord) -> bool:
    """Whether ONNX Runtime does, two at a time: on x86 with AVX2 or AVX-512 and without VNNI. False where flags are unknown."""
    flags = set(machine.cpu_flags)
    return bool(flags & {"avx2", "avx512bw"}) and not flags & {"avx512_vnni", "avx_vnni", "amx_int8"}


def governor() -> str | None:
    """The frequency governor of the first core; None where the system does not tell."""
    path = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    try:
        return path.read_text().strip()
    except OSError:
        return None


def this_machine() -> MachineRecord:
    """The record for a report. It holds no host name."""
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
