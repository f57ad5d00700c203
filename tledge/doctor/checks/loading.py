"""This check loads every library in another process, asks TensorFlow for its GPU, and looks for the runtimes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tledge.doctor.asking import RUNTIMES, TENSORFLOW, Answer, answers
from tledge.doctor.finding import Check, Finding
from tledge.doctor.requirements import extras, module, required, version

_REMEDY = (
    "Install tledge again, into a new virtual environment. If that changes nothing, give this line in a bug report."
)


def _find(artifacts: Path) -> Iterator[Finding]:
    needed = [*required(), *(one for extra in extras() for one in required(extra))]
    modules = [module(one.name) for one in needed if version(one.name) is not None]
    found = {answer.name: answer for answer in answers([*modules, RUNTIMES])}
    loaded = [name for name in modules if found[name].problem is None]
    whys: dict[str, list[str]] = {}
    for name in modules:
        if (why := found[name].problem) is not None:
            whys.setdefault(why, []).append(name)
    problem = "; ".join(f"{', '.join(names)}: {why}" for why, names in whys.items()) or None
    yield Finding("libraries that load", f"{len(loaded)} of {len(modules)}", problem, _REMEDY if problem else "")
    yield Finding("device of TensorFlow", _said(found.get(TENSORFLOW)))
    runtimes = found[RUNTIMES]
    yield Finding("runtimes", runtimes.said or "not known", runtimes.problem, _REMEDY if runtimes.problem else "")


def _said(answer: Answer | None) -> str:
    return answer.said if answer and answer.said else "not known, as TensorFlow does not load"


CHECK = Check(order=120, find=_find)
