"""How a network is made ready for an integer format. One preparation is one file that names itself as ``PREPARATION``.

A format names the preparation that it is made from. Each preparation says which options it reads, what a run must have for it,
and what it makes: representative photos, a network of integer weights and ranges, and a record of how.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field

from tledge.compression import PreparedNetwork
from tledge.preprocessing import Pixels
from tledge.records import CalibrationRecord, Record

if TYPE_CHECKING:
    from tledge.exporters.preparations.sources import Sources

PHOTOS = frozenset({"calibration_samples"})  # options of whatever reads representative photos


class PreparationRecord(Record):
    """What every preparation says in export.json, below ``options``; a class of its own for each adds to it."""

    largest_pair_sum: int | None = Field(
        default=None,
        description="what two int8 weights that a CPU adds products of reach; None where they are not bound",
    )

    @classmethod
    def of(cls, *notes: Record, **own: Any) -> Self:
        """Join the notes of several steps and the preparation's own values."""
        return cls.model_validate({name: value for part in notes for name, value in part} | own)

    def options(self) -> dict[str, Any]:
        """Return what export.json holds of it: plain JSON types, and no key for what is None."""
        return self.model_dump(mode="json", exclude_none=True)


@dataclass(frozen=True)
class Material:
    """What a format of integers is made from.

    ``pixels``: representative photos, uint8 (N, S, S, 3). ``prepared``: None where the layers are unknown. ``bounds_pairs``: of
    int8 weights, as in a ``Grid``.
    """

    samples: CalibrationRecord
    pixels: Pixels
    prepared: PreparedNetwork | None
    record: PreparationRecord
    bounds_pairs: bool = False


@dataclass(frozen=True)
class Preparation:
    """One preparation, as its file declares it.

    ``reads``: the names of the user's options that it reads. ``require(sources, format_name)`` raises InputError where a run can't
    have it, before anything is made: that may take hours. ``make(sources, bounds_pairs)`` gives the material; ``bounds_pairs``
    says whether every pair of int8 weights has to fit into 16 bits. ``trains``: whether it takes epochs of training.
    """

    name: str
    reads: frozenset[str]
    require: Callable[[Sources, str], None]
    make: Callable[[Sources, bool], Material]
    trains: bool = False


def preparations() -> dict[str, Preparation]:
    """Find every preparation by name: a new file is found by its ``PREPARATION``."""
    modules = (importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__))
    found = (getattr(module, "PREPARATION", None) for module in modules)
    return {one.name: one for one in found if one is not None}
