"""This module checks that there is room in memory and on the disk, before work starts."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

from tledge.errors import EnvironmentFault


def require_space(folder: Path, num_bytes: int) -> None:
    """Raise EnvironmentFault, before anything is written, where ``num_bytes`` do not fit on a folder's disk."""
    free = free_space(folder)
    if num_bytes > free:
        raise EnvironmentFault(
            f"no space left on the disk: {folder} needs {num_bytes / 1e6:.0f} MB and {free / 1e6:.0f} MB are free. "
            "Free some space, or set TLEDGE_CACHE_DIR to a folder on a larger disk."
        )


def free_space(folder: Path) -> int:
    """Return how many bytes are free on a folder's disk."""
    return shutil.disk_usage(folder).free


def require_memory(num_bytes: int, what: str, remedy: str) -> None:
    """Raise EnvironmentFault, before memory is taken, where ``num_bytes`` do not fit into what is available.

    ``what`` is the subject of the error's sentence, and ``remedy`` its end. Nothing is checked where the system does
    not tell what is available.
    """
    available = available_memory()
    if available is not None and num_bytes > available:
        raise EnvironmentFault(
            f"too little memory: {what} needs about {num_bytes / 1e6:,.0f} MB and {available / 1e6:,.0f} MB are "
            f"available. {remedy}"
        )


def available_memory() -> int | None:
    """Return how many bytes this process may still take; None where the system does not tell.

    It is the least of what the machine, the control groups of the process and its own limit leave. Sources: proc(5) for
    MemAvailable, Linux' admin guide for control groups.
    """
    left = [*_left_on_the_machine(), *left_in_the_groups(), *_left_of_the_address_space()]
    return max(0, min(left)) if left else None


def _left_on_the_machine() -> Iterator[int]:
    for line in _text(Path("/proc/meminfo")).splitlines():
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) * 1024


def left_in_the_groups(system: Path = Path("/")) -> Iterator[int]:
    """Yield the bytes that the control group of this process, and each group around it, may still take.

    ``system`` is the root folder. Page cache that can be dropped at once does not count as taken. Inside a container
    the group is at the root, whatever its name says.
    """
    for line in _text(system / "proc/self/cgroup").splitlines():
        _, controllers, name = line.split(":", 2)
        if not controllers:
            root, limit, used, files = "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            root, limit, used = "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            files = "total_inactive_file"
        else:
            continue
        innermost = Path(root, name.lstrip("/"))
        for group in (system / path for path in (innermost, *innermost.parents)):
            most, taken = (_text(group / file).strip() for file in (limit, used))
            if most.isdigit() and taken.isdigit():  # "max" means that no limit is set
                counts = dict(line.split() for line in _text(group / "memory.stat").splitlines())
                yield int(most) - int(taken) + int(counts.get(files, 0))


def _left_of_the_address_space() -> Iterator[int]:
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most != resource.RLIM_INFINITY and (pages := _text(Path("/proc/self/statm")).split()):
        yield most - int(pages[0]) * resource.getpagesize()


def require_address_space(num_bytes: int, what: str) -> None:
    """Raise EnvironmentFault where the process's limit leaves less address space than ``what`` needs."""
    for left in _left_of_the_address_space():
        if left < num_bytes:
            raise EnvironmentFault(
                f"too little address space: {what} needs about {num_bytes / 1e6:,.0f} MB and this process may take "
                f"{left / 1e6:,.0f} MB. Allow more: ulimit -v unlimited"
            )


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
