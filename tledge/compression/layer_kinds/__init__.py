"""What each kind of layer is to integer arithmetic. One kind is one file, which holds its row as ``KIND``.

Everything that asks what a layer is to integers asks the row of its kind, so a new kind changes no other module.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil

from tledge.compression.layer_kind import Kernel, LayerKind, Normalization

__all__ = ["Kernel", "LayerKind", "Normalization", "kinds"]


@functools.cache
def kinds() -> dict[str, LayerKind]:
    """Returns every kind of layer by its name: a new file is found by its ``KIND``."""
    modules = (importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__))
    return {module.KIND.name: module.KIND for module in modules}
