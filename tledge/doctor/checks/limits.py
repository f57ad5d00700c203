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
    addresses, _ = resource.getrlimit(resource.RLIMIT_AS)
    largest, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    least = least_address_space()
    for name, shown, is_low, problem, remedy in (
        ("open files", f"{_shown(files)}, at most {_shown(most)}", 0 <= files < _LEAST_FILES,
         f"a command may need {_LEAST_FILES}", "ulimit -n 1024"),
        ("address space", _bytes(addresses), 0 <= addresses < least,
         f"a build takes {least / 1e9:.1f} GB here, most of it libraries", "ulimit -v unlimited"),
        ("size of a file", _bytes(largest), 0 <= largest < _LEAST_FILE_BYTES,
         f"a cache of photos may need {_LEAST_FILE_BYTES / 1e9:.0f} GB", "ulimit -f unlimited"),
    ):  # fmt: skip
        yield Finding(name, shown, problem if is_low else None, f"Run: {remedy}" if is_low else "")
    version = landlock_version()
    yield Finding("confinement", f"Landlock {version}" if version else "none: a model's process may write files")


def _shown(limit: int) -> str:
    return "no limit" if limit == resource.RLIM_INFINITY else str(limit)


def _bytes(limit: int) -> str:
    return "no limit" if limit == resource.RLIM_INFINITY else f"{limit / 1e9:.1f} GB"


CHECK = Check(order=50, find=_find)
