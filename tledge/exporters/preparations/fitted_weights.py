"""The fitted weights without their ranges, for a format that has ranges of its own."""

from __future__ import annotations

from dataclasses import replace

from tledge.exporters.preparations import fitted
from tledge.exporters.preparations.material import Material, PreparationRecord
from tledge.exporters.preparations.preparation import PHOTOS, Preparation
from tledge.exporters.preparations.sources import Sources


class WeightsRecord(PreparationRecord):
    """How weights were fitted."""

    fitting: str


def require(sources: Sources, format_name: str) -> None:
    """Every run can have it."""


def make(sources: Sources, bounds_pairs: bool) -> Material:
    """Take the network of ``fitted``, and of its record what is said of weights."""
    made = sources.once(fitted.make, bounds_pairs)
    assert isinstance(made.record, fitted.FittedRecord)
    return replace(
        made, record=WeightsRecord(fitting=made.record.fitting, largest_pair_sum=made.record.largest_pair_sum)
    )


PREPARATION = Preparation("fitted weights", PHOTOS, require, make)
