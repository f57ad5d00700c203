"""Limits that a process sets itself before it runs somebody else's native code or model."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

MEMORY_LIMIT_BYTES = 8 * 2**30
FILE_LIMIT_BYTES = 2 * 2**30


def confine() -> None:
    """Limit what a hostile artifact could take."""
    import resource

    for limit, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, MEMORY_LIMIT_BYTES),
        (resource.RLIMIT_FSIZE, FILE_LIMIT_BYTES),
    ):
        _, hard = resource.getrlimit(limit)
        resource.setrlimit(limit, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def die_with_parent(parent_pid: int) -> None:
    """Ask Linux to kill this process when its parent dies, however that happens."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent_pid:  # it died while this process started
            sys.exit(1)
