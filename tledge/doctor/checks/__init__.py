"""Checks of the machine are found here. Each is one module, which defines ``CHECK``."""

from __future__ import annotations

import importlib
import pkgutil

from tledge.doctor.finding import Check


def checks() -> dict[str, Check]:
    """Return every check of this package by the name of its module, in the order in which they run."""
    names = [module_info.name for module_info in pkgutil.iter_modules(__path__)]
    found = {name: importlib.import_module(f"{__name__}.{name}").CHECK for name in names}
    return dict(sorted(found.items(), key=lambda item: item[1].order))
