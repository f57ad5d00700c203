"""The sections of the report. One section is one file here, with its templates, style and script beside it."""

from __future__ import annotations

import importlib
import pkgutil

from tledge.reporting.section import Section


def sections() -> dict[str, Section]:
    """Return every section of this package by name, in the order of the report.

    A new file is found by its ``SECTION``; its name is the file's.
    """
    names = [module_info.name for module_info in pkgutil.iter_modules(__path__)]
    found = {name: importlib.import_module(f"{__name__}.{name}").SECTION for name in names}
    return dict(sorted(found.items(), key=lambda item: item[1].order))
