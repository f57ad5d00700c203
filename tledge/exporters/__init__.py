"""What an artifact can be. One format family is one file that lists its formats.

An exporter turns the run's SavedModel into one file's bytes; :mod:`tledge.audit` then reads
that file, not the options, and compares what it holds with what the format promises.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.compression import PreparedNetwork
from tledge.errors import InputError, unknown
from tledge.exporters.mixed import PROMISE, SUFFIX, float_options
from tledge.exporters.preparations import Preparation
from tledge.records import Promise

ALL = "all"
TRAINS = "it trains for some epochs"
ONE_PHOTO, ANY_BATCH = "1", "any"  # photos that a file takes at a time


@dataclass(frozen=True)
class ConverterInput:
    """What a converter reads. ``calibration``: uint8 RGB (N, S, S, 3) for formats that need it, else None.

    ``metadata``: JSON text with labels, input contract and provenance, to travel inside the artifact. ``prepared``: the
    network with weights and ranges for integer arithmetic; None where its layers are unknown, or none is needed.
    ``bounds_pairs``: whether every pair of int8 weights has to fit into 16 bits. ``batch``: ``ONE_PHOTO`` or ``ANY_BATCH``.
    """

    saved_model: Path
    input_size: int
    metadata: str
    calibration: npt.NDArray[np.uint8] | None
    prepared: PreparedNetwork | None = None
    bounds_pairs: bool = False
    batch: str = ONE_PHOTO


@dataclass(frozen=True)
class Format:
    """One artifact format, as its family's file declares it.

    ``preparation``: how its network is made ready for integers, and None for what the SavedModel alone gives.
    ``on_request``: why it is made only where it is named; empty where ``all`` makes it too.
    ``saturates``: whether its runtime adds products of two codes in 16 bits on CPUs that can do no better.
    ``one_photo``: why its files take one photo at a time; empty where they can take any number. ``batch``: what they do take.
    """

    name: str
    file: str
    promise: Promise
    preparation: Preparation | None
    convert: Callable[[ConverterInput], bytes]
    options: dict[str, Any]
    libraries: tuple[str, ...]
    on_request: str = ""
    saturates: bool = False
    one_photo: str = ""
    batch: str = ONE_PHOTO

    def with_batch(self, batch: str) -> Format:
        """The same format whose files take ``ONE_PHOTO`` or ``ANY_BATCH`` at a time; require_batch() says whether they can."""
        return replace(self, batch=batch)

    def with_float_operators(self, counts: Mapping[str, int], convert: Callable[[ConverterInput], bytes]) -> Format:
        """Its mixed variant, of one model: so many operators, by name, stay float, which the options declare."""
        options = {**self.options, **float_options(counts)}
        return replace(self, name=f"{self.name}{SUFFIX}", promise=PROMISE, convert=convert, options=options)

    @property
    def is_trained(self) -> bool:
        """Whether it takes epochs of training."""
        return self.preparation is not None and self.preparation.trains


def formats() -> dict[str, Format]:
    """Every format by name, in the order of the families' files: a new file is found by its ``FORMATS``."""
    found: dict[str, Format] = {}
    for module_info in sorted(pkgutil.iter_modules(__path__), key=lambda info: info.name, reverse=True):
        module = importlib.import_module(f"{__name__}.{module_info.name}")
        for form in getattr(module, "FORMATS", ()):
            found[form.name] = form
    return found


def mixed_formats() -> dict[str, Callable[[ConverterInput], Format]]:
    """What makes the mixed variant of an integer format, by the name of that format.

    The variant is of one model: its options declare the operators that stay float.
    """
    modules = (importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__))
    return {name: make for module in modules for name, make in getattr(module, "MIXED", {}).items()}


def chosen(names: list[str]) -> list[Format]:
    """The formats of these names, each once; ``all`` is every one that is not made on request only.

    Raises InputError with the nearest match.
    """
    known = formats()
    for name in names:
        if name != ALL and name not in known:
            searched = [form for form in mixed_formats() if f"{form}{SUFFIX}" == name]
            hint = f"A mixed file is what a search makes: --format {searched[0]} --max-drop POINTS." if searched else ""
            raise unknown("format", name, [*known, ALL], hint)
    usual = [name for name, form in known.items() if not form.on_request] if ALL in names else []
    return [known[name] for name in dict.fromkeys([*usual, *names]) if name != ALL]


def require_batch(forms: Collection[Format], batch: str) -> None:
    """Raise InputError for a batch that is none, and for formats whose files can't take it, which it names."""
    if batch not in (ONE_PHOTO, ANY_BATCH):
        raise InputError(f"--batch {batch}: use {ONE_PHOTO} or {ANY_BATCH}")
    refusing = {form.name: form.one_photo for form in forms if form.one_photo and batch == ANY_BATCH}
    if refusing:
        reasons = [
            f"{', '.join(name for name, own in refusing.items() if own == reason)}: {reason}"
            for reason in dict.fromkeys(refusing.values())
        ]
        able = ", ".join(form.name for form in formats().values() if not form.one_photo)
        raise InputError(
            f"--batch {batch} is for {able}. {'. '.join(reasons)}. Leave these formats out, or --batch {batch}"
        )
