"""Preparations make a network ready for an integer format. Each is one file that declares itself as ``PREPARATION``.

A format names its preparation. Each preparation says which options it reads, and what a run must have for it. It makes the
representative data set, a network with weights and ranges for integer arithmetic, and a record of how it made them.
"""

from __future__ import annotations

import importlib
import pkgutil

from tledge.exporters.preparations.material import Material, PreparationRecord
from tledge.exporters.preparations.preparation import PHOTOS, Preparation

__all__ = ["PHOTOS", "Material", "Preparation", "PreparationRecord", "preparations"]


def preparations() -> dict[str, Preparation]:
    """Find every preparation by its name. A new file is found by its ``PREPARATION``."""
    modules = (importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__))
    found = (getattr(module, "PREPARATION", None) for module in modules)
    return {one.name: one for one in found if one is not None}
