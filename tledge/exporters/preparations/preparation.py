"""A preparation, as its file declares it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tledge.exporters.preparations.material import Material

if TYPE_CHECKING:
    from tledge.exporters.preparations.sources import Sources

PHOTOS = frozenset({"calibration_samples"})  # options of whatever reads the representative data set


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
