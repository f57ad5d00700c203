"""This check compares the installed libraries with the versions that tledge takes and is tested with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tledge.doctor.finding import Check, Finding
from tledge.doctor.requirements import required, tested, version

_REMEDY = "Install tledge again, into a new virtual environment."


def _find(artifacts: Path) -> Iterator[Finding]:
    needed = required()
    found = {one.name: version(one.name) for one in needed}
    missing = [f"{one.name} is missing" for one in needed if found[one.name] is None]
    others = [
        f"{one.name} is {installed}, and tledge needs {one.specifier}"
        for one in needed
        if (installed := found[one.name]) is not None and not one.specifier.contains(installed, prereleases=True)
    ]
    problem = "; ".join(missing + others) or None
    shown = ", ".join(f"{name} {installed or 'missing'}" for name, installed in found.items())
    yield Finding("libraries", shown, problem, _REMEDY if problem else "")
    differing = [
        f"{name} {installed} (tested: {pinned})"
        for name, pinned in tested().items()
        if (installed := version(name)) is not None and installed != pinned
    ]
    yield Finding("not the tested version", ", ".join(differing) or "none")


CHECK = Check(order=20, find=_find)
