"""What an artifact can be. One format family is one file that lists its formats.

An exporter turns the run's SavedModel into one file's bytes; :mod:`tledge.audit` then reads
that file, not the options, and compares what it holds with what the format promises.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tledge.compression import Prepared
from tledge.errors import unknown
from tledge.records import Promise

ALL = "all"
FITTED, TRAINED, PRUNED = "fitted", "trained", "pruned"  # how the network of an integer format is made ready


@dataclass(frozen=True)
class Model:
    """What a converter reads. ``calibration``: uint8 RGB (N, S, S, 3) for formats that need it, else None.

    ``metadata``: JSON text with labels, input contract and provenance, to travel inside the artifact. ``prepared``: the
    network with weights and ranges for integer arithmetic; None where its layers are unknown, or none is needed.
    """

    saved_model: Path
    input_size: int
    metadata: str
    calibration: npt.NDArray[np.uint8] | None
    prepared: Prepared | None = None


@dataclass(frozen=True)
class Format:
    """One artifact format, as its family's file declares it.

    ``preparation``: how its network is made ready for integers, and None for what the SavedModel alone gives.
    """

    name: str
    file: str
    promise: Promise
    preparation: str | None
    convert: Callable[[Model], bytes]
    options: dict[str, str]
    libraries: tuple[str, ...]

    @property
    def needs_calibration(self) -> bool:
        """Whether representative photos set its ranges."""
        return self.preparation is not None

    @property
    def is_trained(self) -> bool:
        """Whether it takes epochs of training, so that ``all`` leaves it out."""
        return self.preparation not in (None, FITTED)


def formats() -> dict[str, Format]:
    """Every format by name, in the order of the families' files: a new file is found by its ``FORMATS``."""
    found: dict[str, Format] = {}
    for module_info in sorted(pkgutil.iter_modules(__path__), key=lambda info: info.name, reverse=True):
        module = importlib.import_module(f"{__name__}.{module_info.name}")
        for form in getattr(module, "FORMATS", ()):
            found[form.name] = form
    return found


def chosen(names: list[str]) -> list[Format]:
    """The formats of these names, each once; ``all`` is every one that needs no training.

    Raises InputError with the nearest match.
    """
    known = formats()
    for name in names:
        if name != ALL and name not in known:
            raise unknown("format", name, [*known, ALL])
    converted = [name for name, form in known.items() if not form.is_trained] if ALL in names else []
    return [known[name] for name in dict.fromkeys([*converted, *names]) if name != ALL]
