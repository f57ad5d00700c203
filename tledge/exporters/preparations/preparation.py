"""A ``Preparation`` is what the file of a preparation declares of itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tledge.exporters.preparations.material import Material

if TYPE_CHECKING:
    from tledge.exporters.preparations.sources import Sources

PHOTOS = frozenset({"calibration_samples"})  # the options of every preparation that reads representative photos


@dataclass(frozen=True)
class Preparation:
    """A ``Preparation`` describes one way to make a network ready for an integer format.

    Args:
        name: The name of the preparation.
        reads: The names of the user's options that it reads.
        require: ``require(sources, format_name)`` raises InputError where a run can't have the preparation. It is called
            before anything is made, because that may take hours.
        make: ``make(sources, bounds_pairs)`` returns the material. ``bounds_pairs`` says whether the products of every pair of
            int8 weights have to fit into 16 bits.
        trains: Whether it trains the network for some epochs.
    """

    name: str
    reads: frozenset[str]
    require: Callable[[Sources, str], None]
    make: Callable[[Sources, bool], Material]
    trains: bool = False
