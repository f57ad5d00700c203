"""This module finds the runtimes: those of this package, one file each, and those that installed distributions add."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

from tledge.errors import EnvironmentFault, unknown
from tledge.runtimes.runtime import Runtime

ENTRY_POINTS = "tledge.runtimes"
"""Another distribution adds a runtime by an entry point of this group, which names an object of :class:`Runtime`."""


def runtimes() -> dict[str, Runtime]:
    """Return every runtime by name, the preferred ones first.

    Raises EnvironmentFault where an installed distribution adds something that can't be imported, that is no Runtime,
    or that has the name of another runtime.
    """
    found: dict[str, Runtime] = {}
    for runtime in sorted([*_own(), *_added()], key=lambda runtime: (runtime.rank, runtime.name)):
        if runtime.name in found:
            raise EnvironmentFault(
                f"two runtimes are named {runtime.name!r}: uninstall one of the distributions that add them"
            )
        found[runtime.name] = runtime
    return found


def runtime(name: str) -> Runtime:
    """Return a runtime by name. An unknown name raises InputError with the nearest match."""
    known = runtimes()
    if name not in known:
        raise unknown("runtime", name, known)
    return known[name]


def runtimes_for(path: Path) -> list[Runtime]:
    """List the runtimes that run files of this suffix and whose libraries are installed, the preferred one first."""
    suitable = (found for found in runtimes().values() if path.suffix in found.suffixes)
    return [found for found in suitable if not found.missing_libraries()]


def _own() -> Iterator[Runtime]:
    package = importlib.import_module(__package__)
    for module_info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{__package__}.{module_info.name}")
        if (declared := getattr(module, "RUNTIME", None)) is not None:
            yield declared


@functools.cache  # looking through all installed distributions takes longer than a small network
def _added() -> tuple[Runtime, ...]:
    found = []
    for entry in entry_points(group=ENTRY_POINTS):
        try:
            declared = entry.load()
        except (Exception, SystemExit) as error:  # whatever a stranger's module raises
            raise EnvironmentFault(
                f"runtime {entry.name!r}, added by {entry.value}, can't be loaded: {error}"
            ) from error
        if not isinstance(declared, Runtime):
            raise EnvironmentFault(f"runtime {entry.name!r}: {entry.value} is no tledge.runtimes.Runtime")
        found.append(declared)
    return tuple(found)
