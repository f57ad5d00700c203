"""A process limits itself before it runs native code or a model from elsewhere."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

MEMORY_LIMIT_BYTES = 8 * 2**30
FILE_LIMIT_BYTES = 2 * 2**30

# Landlock is in Linux from 5.13 on: include/uapi/linux/landlock.h. Its system calls have the same numbers everywhere.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION, _PATH_BENEATH = 1, 1
_NO_NEW_PRIVILEGES = 38  # prctl's PR_SET_NO_NEW_PRIVS
_WRITE_FILE, _TRUNCATE = 1 << 1, 1 << 14
# These rights are to remove and to make files, folders, sockets, pipes, devices and links.
_IN_FOLDERS = sum(1 << bit for bit in range(4, 13))
_MOVE = 1 << 13
_SINCE = {1: _WRITE_FILE | _IN_FOLDERS, 2: _MOVE, 3: _TRUNCATE}  # the rights that each version of Landlock added
_TCP_SINCE, _BIND_AND_CONNECT = 4, 3


def confine(may_write: Sequence[Path] = ()) -> None:
    """Limit what a hostile model could take: memory, the size of files, and the writing of files and TCP connections.

    Memory is not limited on macOS, whose kernel refuses such a limit. Writing and connections are limited where Linux has
    Landlock. From then on this thread, the threads that it starts
    and their processes write only to ``may_write``, and below the folders in it. They open no TCP connection (from
    Linux 6.7 on). The limits can't be undone.
    """
    import resource

    for limit, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, MEMORY_LIMIT_BYTES),
        (resource.RLIMIT_FSIZE, FILE_LIMIT_BYTES),
    ):
        _, hard = resource.getrlimit(limit)
        with contextlib.suppress(ValueError):  # macOS refuses RLIMIT_AS; `tledge.systems.lacking` tells it
            resource.setrlimit(limit, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
    if version := landlock_version():
        _forbid_writing(version, [*may_write, Path(os.devnull)])


def landlock_version() -> int:
    """Return the version of Landlock that this kernel enforces; 0 where it has none, as on other systems."""
    return max(0, _system_call(_CREATE_RULESET, None, 0, _ASK_VERSION)) if sys.platform == "linux" else 0


def _forbid_writing(version: int, but: Sequence[Path]) -> None:
    handled = sum(rights for since, rights in _SINCE.items() if version >= since)
    attributes = struct.pack("=Q", handled)
    if version >= _TCP_SINCE:
        attributes += struct.pack("=Q", _BIND_AND_CONNECT)
    rules = _checked(_system_call(_CREATE_RULESET, attributes, len(attributes), 0))
    try:
        for path in but:
            rights = handled if path.is_dir() else handled & (_WRITE_FILE | _TRUNCATE)
            handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
            try:
                _checked(_system_call(_ADD_RULE, rules, _PATH_BENEATH, struct.pack("=Qi", rights, handle), 0))
            finally:
                os.close(handle)
        _checked(ctypes.CDLL(None, use_errno=True).prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))
        _checked(_system_call(_RESTRICT_SELF, rules, 0))
    finally:
        os.close(rules)


def _system_call(number: int, *arguments: bytes | int | None) -> int:
    return int(ctypes.CDLL(None, use_errno=True).syscall(ctypes.c_long(number), *arguments))


def _checked(answer: int) -> int:
    if answer < 0:
        raise OSError(ctypes.get_errno(), f"Landlock: {os.strerror(ctypes.get_errno())}")
    return answer


def die_with_parent(parent_pid: int) -> None:
    """Ask Linux to kill this process when its parent dies, however that happens."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent_pid:  # it died while this process started
            sys.exit(1)
