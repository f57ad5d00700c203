"""This check looks for a clock that is wrong: servers are refused then, and archives can't hold its dates."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from tledge.doctor.finding import Check, Finding

_RELEASED = datetime(2026, 1, 1, tzinfo=UTC).timestamp()  # no right clock is before the year of this version
_DAY_S = 86_400


def _find(artifacts: Path) -> Iterator[Finding]:
    package = Path(__file__).parent.parent.parent
    yield judged(time.time(), max(path.stat().st_mtime for path in package.glob("*.py")))


def judged(now: float, installed: float) -> Finding:
    """Judge a clock by the release of this version, and by the time at which tledge's own files were written.

    Both are in seconds since 1970.
    """
    problem = None
    if now < _RELEASED:
        problem = "it is before the release of this version, so no download's certificate is valid yet"
    elif installed > now + _DAY_S:
        problem = f"tledge's own files are {(installed - now) / _DAY_S:.0f} days newer"
    value = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return Finding("clock", value, problem, "Set the clock, for example by NTP." if problem else "")


CHECK = Check(order=60, find=_find)
