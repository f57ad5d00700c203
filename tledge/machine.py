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


def this_machine() -> MachineRecord:
    """The record for a report. It holds no host name."""
    return MachineRecord(
        cpu=cpu_name(),
        architecture=platform.machine(),
        logical_cores=usable_cores(),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
    )
