"""Weights fitted to integer arithmetic on a representative data set; rounded as they are where the layers are unknown."""

from __future__ import annotations

from tledge.compression.notes import FittingNotes
from tledge.exporters.preparations.material import Material, PreparationRecord
from tledge.exporters.preparations.preparation import PHOTOS, Preparation
from tledge.exporters.preparations.sources import LAYERS_UNKNOWN, Sources

_OF_CONVERTERS = "min-max"  # what they do by themselves


class FittedRecord(FittingNotes, PreparationRecord):
    """How weights and ranges were fitted."""


def require(sources: Sources, _: str) -> None:
    """Raise InputError for a method of calibration that only a network of known layers can have, where they are not."""
    if sources.options.calibration not in (None, _OF_CONVERTERS):
        sources.folded_for(f"--calibration {sources.options.calibration} needs the network's layers")


def make(sources: Sources, bounds_pairs: bool) -> Material:
    """Fit the weights. A converter needs the SavedModel alone: without layers the fitting is lost, and that is said."""
    require(sources, "")
    _ = sources.calibration_photos  # an error of the photos is none of the layers
    try:
        folded = sources.folded
    except LAYERS_UNKNOWN as error:
        sources.progress.warn(f"int8 weights are rounded as they are, not fitted: {error}")
        made = FittedRecord(fitting=f"none: {error}", ranges=_OF_CONVERTERS)
        return sources.material(None, made, bounds_pairs)
    prepared = sources.fitted(folded, bounds_pairs=bounds_pairs)
    return sources.material(prepared, FittedRecord.of(prepared.fitting), bounds_pairs)


PREPARATION = Preparation("fitted", PHOTOS | {"calibration"}, require, make)
