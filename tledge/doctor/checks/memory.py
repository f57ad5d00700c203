"""This check tells how much memory a build may take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tledge.doctor.finding import Check, Finding
from tledge.room import available_memory

_LEAST_BYTES = 1_100_000_000  # the peak of a build of digits on the bundled backbone


def _find(artifacts: Path) -> Iterator[Finding]:
    available = available_memory()
    if available is None:
        yield Finding("memory", "not known")
        return
    is_little = available < _LEAST_BYTES
    yield Finding(
        "memory",
        f"{available / 1e9:.1f} GB available",
        f"the smallest build takes {_LEAST_BYTES / 1e9:.1f} GB" if is_little else None,
        "Close other programs, or raise the limit of the shell (ulimit -v) or of the container." if is_little else "",
    )


CHECK = Check(order=40, find=_find)
