"""Each file of this package declares one kind of layer in ``KIND``, with its integer arithmetic.

Code that needs to know a layer's integer arithmetic asks its kind. So a new kind changes no other module.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil

from tledge.compression.layer_kind import Kernel, LayerKind, Normalization

__all__ = ["Kernel", "LayerKind", "Normalization", "kinds"]


@functools.cache
def kinds() -> dict[str, LayerKind]:
    """Return every kind of layer by its name; the ``KIND`` of a new file is found automatically."""
    modules = (importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__))
    return {module.KIND.name: module.KIND for module in modules}
