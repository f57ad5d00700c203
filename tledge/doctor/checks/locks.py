"""This check counts the names that processes hold, and those that dead processes left behind."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tledge.cache import cache_root
from tledge.doctor.finding import Check, Finding
from tledge.errors import TledgeError
from tledge.locks import is_held


def _find(artifacts: Path) -> Iterator[Finding]:
    files = [*artifacts.glob("*.lock"), *artifacts.glob("*/*.lock")]
    with contextlib.suppress(RuntimeError, TledgeError):  # there is no home: the check of folders says so
        files += (cache_root() / "scratch").glob("*.lock")
    states = [is_held(lock) for lock in files]
    value = f"{sum(states)} held by processes at work, {len(states) - sum(states)} left by dead ones"
    yield Finding("locks", value)


CHECK = Check(order=90, find=_find)
