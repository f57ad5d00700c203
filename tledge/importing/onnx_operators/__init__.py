"""Each file of this package turns the operators of one family into layers, and names them in ``OPERATORS``.

An operator's function takes a node and the layers made so far. It adds layers and returns the node's first output. It raises
LayersUnknown for a form that it has no layers for.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from functools import cache

from tledge.importing.onnx_values import Layers, Node, Value

Operator = Callable[[Node, Layers], Value]


@cache
def operators() -> dict[str, Operator]:
    """Return the functions of all operators by the operator's name."""
    found: dict[str, Operator] = {}
    for module in pkgutil.iter_modules(__path__):
        found |= importlib.import_module(f"{__name__}.{module.name}").OPERATORS
    return found
