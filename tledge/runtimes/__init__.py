"""What runs an artifact. One runtime is one file that names itself, its file suffix and its session.

Nothing in this package imports TensorFlow: a device has only Python, NumPy and one runtime.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tledge.errors import unknown


class Session(Protocol):
    """A loaded artifact."""

    def predict(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """uint8 RGB (1, S, S, 3) to the float32 outputs (C,), dequantized where the artifact's are integers."""


@dataclass(frozen=True)
class Runtime:
    """A runtime as its file declares it. ``load(model, num_threads, kernels)`` opens an artifact's bytes.

    ``kernels``: the sets of kernels it can compute with: first the one that is deployed, last the plain reference.
    """

    name: str
    suffix: str
    distribution: str
    kernels: tuple[str, ...]
    load: Callable[[bytes, int, str], Session]


def runtimes() -> dict[str, Runtime]:
    """Every runtime of this package by name: a new file is found by its ``RUNTIME``."""
    found = {}
    for module_info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{module_info.name}")
        runtime = getattr(module, "RUNTIME", None)
        if runtime is not None:
            found[runtime.name] = runtime
    return found


def runtime(name: str) -> Runtime:
    """One runtime by name. Raises InputError with the nearest match."""
    known = runtimes()
    if name not in known:
        raise unknown("runtime", name, known)
    return known[name]


def runtimes_for(path: Path) -> list[Runtime]:
    """The runtimes that run files of this suffix."""
    return [runtime for runtime in runtimes().values() if runtime.suffix == path.suffix]
