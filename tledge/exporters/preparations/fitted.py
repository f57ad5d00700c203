"""This preparation fits weights to integer arithmetic on the representative data set.

Where the layers of the network are unknown, the converter rounds the weights as they are.
"""

from __future__ import annotations

from tledge.compression.notes import FittingNotes
from tledge.exporters.preparations.material import Material, PreparationRecord
from tledge.exporters.preparations.preparation import PHOTOS, Preparation
from tledge.exporters.preparations.sources import LAYERS_UNKNOWN, Sources

_OF_CONVERTERS = "min-max"  # the calibration that converters do by themselves


class FittedRecord(FittingNotes, PreparationRecord):
    """This record says how weights and ranges were fitted."""


def require(sources: Sources, _: str) -> None:
    """Raise InputError where the layers are unknown, and the calibration method of the options needs them."""
    if sources.options.calibration not in (None, _OF_CONVERTERS):
        sources.folded_for(f"--calibration {sources.options.calibration} needs the network's layers")


def make(sources: Sources, bounds_pairs: bool) -> Material:
    """Fit the weights of the run's network, and return the material.

    Where the layers are unknown, a warning says that weights are not fitted, and the material holds no network. The converter
    needs the SavedModel alone.
    """
    require(sources, "")
    _ = sources.calibration_photos  # read here, so that an error about photos is not taken for one about layers
    try:
        folded = sources.folded
    except LAYERS_UNKNOWN as error:
        sources.progress.warn(f"int8 weights are rounded as they are, not fitted: {error}")
        made = FittedRecord(fitting=f"none: {error}", ranges=_OF_CONVERTERS)
        return sources.material(None, made, bounds_pairs)
    prepared = sources.fitted(folded, bounds_pairs=bounds_pairs)
    return sources.material(prepared, FittedRecord.of(prepared.fitting), bounds_pairs)


PREPARATION = Preparation("fitted", PHOTOS | {"calibration"}, require, make)
