"""This check lists what of tledge is optional: its extras, and what other distributions add to it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

from tledge.doctor.finding import Check, Finding
from tledge.doctor.requirements import extras, required, version
from tledge.runtimes.found import ENTRY_POINTS


def _find(artifacts: Path) -> Iterator[Finding]:
    for extra in extras():
        needed = [one.name for one in required(extra)]
        missing = [name for name in needed if version(name) is None]
        has = ", ".join(f"{name} {version(name)}" for name in needed if name not in missing)
        get = f"not installed; to get it, in a checkout of tledge: pip install '.[{extra}]'"
        yield Finding(f"extra {extra}", get if missing else has)
    added = sorted(f"{entry.name} ({entry.value})" for entry in entry_points(group=ENTRY_POINTS))
    yield Finding("added runtimes", ", ".join(added) or "none")


CHECK = Check(order=100, find=_find)
