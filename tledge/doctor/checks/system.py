"""This check names tledge, Python and the system."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from pathlib import Path

from tledge._version import __version__
from tledge.doctor.finding import Check, Finding


def _find(artifacts: Path) -> Iterator[Finding]:
    yield Finding("tledge", __version__)
    bits = 64 if sys.maxsize > 2**32 else 32
    value = f"{platform.python_implementation()} {platform.python_version()}, {bits} bits"
    if sys.flags.optimize:
        value += f", optimized (-{'O' * sys.flags.optimize})"
    is_wrong = bits == 32 or platform.python_implementation() != "CPython"
    yield Finding(
        "Python",
        value,
        "TensorFlow is built for CPython of 64 bits only" if is_wrong else None,
        "Install tledge into another Python, on a system of 64 bits." if is_wrong else "",
    )
    libc = " ".join(filter(None, platform.libc_ver()))
    yield Finding("system", ", ".join(filter(None, (platform.system(), platform.release(), libc))))


CHECK = Check(order=10, find=_find)
