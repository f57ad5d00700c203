"""Sections of the report are found here. Each is one module with its templates, style and script beside it."""

from __future__ import annotations

import importlib
import pkgutil

from tledge.reporting.section import Section


def sections() -> dict[str, Section]:
    """Return every section of this package by name, in the order of the report.

    A section's name is the name of its module, which defines ``SECTION``.
    """
    names = [module_info.name for module_info in pkgutil.iter_modules(__path__)]
    found = {name: importlib.import_module(f"{__name__}.{name}").SECTION for name in names}
    return dict(sorted(found.items(), key=lambda item: item[1].order))
