"""This check tells what the system allows a process to take, and whether it can confine one."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

from tledge.confinement import landlock_version
from tledge.doctor.finding import Check, Finding
from tledge.tensorflow_setup import least_address_space

_LEAST_FILES = 64  # with so many, a build, an export and a verification run to their end
_LEAST_FILE_BYTES = 10**9


def _find(artifacts: Path) -> Iterator[Finding]:
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = 0 <= files < _LEAST_FILES
    yield Finding(
        "open files",
        f"{_shown(files)}, at most {_shown(most)}",
        f"a command may need {_LEAST_FILES}" if few else None,
        "Run: ulimit -n 1024" if few else "",
    )
    addresses, _ = resource.getrlimit(resource.RLIMIT_AS)
    least = least_address_space()
    narrow = 0 <= addresses < least
    yield Finding(
        "address space",
        _bytes(addresses),
        f"a build takes {least / 1e9:.1f} GB here, most of it libraries" if narrow else None,
        "Run: ulimit -v unlimited" if narrow else "",
    )
    largest, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    small = 0 <= largest < _LEAST_FILE_BYTES
    yield Finding(
        "size of a file",
        _bytes(largest),
        f"a cache of photos may need {_LEAST_FILE_BYTES / 1e9:.0f} GB" if small else None,
        "Run: ulimit -f unlimited" if small else "",
    )
    version = landlock_version()
    yield Finding("confinement", f"Landlock {version}" if version else "none: a model's process may write files")


def _shown(limit: int) -> str:
    return "no limit" if limit == resource.RLIM_INFINITY else str(limit)


def _bytes(limit: int) -> str:
    return "no limit" if limit == resource.RLIM_INFINITY else f"{limit / 1e9:.1f} GB"


CHECK = Check(order=50, find=_find)
