"""Whether there is room in memory and on the disk: told before the work starts."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

from tledge.errors import EnvironmentFault


def require_space(folder: Path, num_bytes: int) -> None:
    """Raise EnvironmentFault where so much would not fit on a folder's disk: before anything is written."""
    free = free_space(folder)
    if num_bytes > free:
        raise EnvironmentFault(
            f"no space left on the disk: {folder} needs {num_bytes / 1e6:.0f} MB and {free / 1e6:.0f} MB are free. "
            "Free some space, or set TLEDGE_CACHE_DIR to a folder on a larger disk."
        )


def free_space(folder: Path) -> int:
    """Bytes that are free on a folder's disk."""
    return shutil.disk_usage(folder).free


def require_memory(num_bytes: int, what: str, remedy: str) -> None:
    """Raise EnvironmentFault where so much does not fit into the memory that is available: before it is taken.

    ``what`` is the sentence's subject. Nothing is checked where the system does not tell what is available.
    """
    available = available_memory()
    if available is not None and num_bytes > available:
        raise EnvironmentFault(
            f"too little memory: {what} needs about {num_bytes / 1e6:,.0f} MB and {available / 1e6:,.0f} MB are "
            f"available. {remedy}"
        )


def available_memory() -> int | None:
    """Bytes that this process may still take: the least of what the machine, its control groups and its own limit leave.

    None where the system tells none of them. Sources: proc(5) for MemAvailable, Linux' admin guide for control groups.
    """
    left = [*_left_on_the_machine(), *left_in_the_groups(), *_left_of_the_address_space()]
    return max(0, min(left)) if left else None


def _left_on_the_machine() -> Iterator[int]:
    for line in _text(Path("/proc/meminfo")).splitlines():
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) * 1024


def left_in_the_groups(system: Path = Path("/")) -> Iterator[int]:
    """Bytes that the control group of this process, and each around it, may still take; ``system`` is the root folder.

    Page cache that can be dropped at once does not count as taken. A container's group is at the root, whatever it is told.
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
            if most.isdigit() and taken.isdigit():  # "max": none is set
                counts = dict(line.split() for line in _text(group / "memory.stat").splitlines())
                yield int(most) - int(taken) + int(counts.get(files, 0))


def _left_of_the_address_space() -> Iterator[int]:
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most != resource.RLIM_INFINITY and (pages := _text(Path("/proc/self/statm")).split()):
        yield most - int(pages[0]) * resource.getpagesize()


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
