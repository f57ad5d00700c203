"""How a network is made ready for an integer format. One preparation is one file that names itself as ``PREPARATION``.

A format names the preparation that it is made from. Each preparation says which options it reads, what a run must have for it,
and what it makes: a representative data set, a network of integer weights and ranges, and a record of how.
"""

from __future__ import annotations

import importlib
import pkgutil

from tledge.exporters.preparations.material import Material, PreparationRecord
from tledge.exporters.preparations.preparation import PHOTOS, Preparation

__all__ = ["PHOTOS", "Material", "Preparation", "PreparationRecord", "preparations"]


def preparations() -> dict[str, Preparation]:
    """Find every preparation by name: a new file is found by its ``PREPARATION``."""
    modules = (importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__))
    found = (getattr(module, "PREPARATION", None) for module in modules)
    return {one.name: one for one in found if one is not None}
