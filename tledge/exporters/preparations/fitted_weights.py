"""This preparation fits weights without their ranges, for a format whose converter chooses the ranges."""

from __future__ import annotations

from dataclasses import replace

from tledge.exporters.preparations import fitted
from tledge.exporters.preparations.material import Material, PreparationRecord
from tledge.exporters.preparations.preparation import PHOTOS, Preparation
from tledge.exporters.preparations.sources import Sources


class WeightsRecord(PreparationRecord):
    """This record says how weights were fitted."""

    fitting: str


def require(sources: Sources, format_name: str) -> None:
    """Accept every run, because every run can have this preparation."""


def make(sources: Sources, bounds_pairs: bool) -> Material:
    """Return the material of ``fitted`` with a record that speaks of the weights alone."""
    made = sources.once(fitted.make, bounds_pairs)
    assert isinstance(made.record, fitted.FittedRecord)
    return replace(
        made, record=WeightsRecord(fitting=made.record.fitting, largest_pair_sum=made.record.largest_pair_sum)
    )


PREPARATION = Preparation("fitted weights", PHOTOS, require, make)
