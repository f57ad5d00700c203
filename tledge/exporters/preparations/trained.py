"""This preparation trains fitted weights further, while weights and activations are rounded (QAT)."""

from __future__ import annotations

from tledge.compression.notes import FittingNotes, LearningNotes
from tledge.compression.qat import train_quantized
from tledge.datasets.run_photos import members
from tledge.errors import InputError
from tledge.exporters.preparations import fitted
from tledge.exporters.preparations.material import Material, PreparationRecord
from tledge.exporters.preparations.preparation import Preparation
from tledge.exporters.preparations.sources import Sources

READS = fitted.PREPARATION.reads | {"epochs", "learning_rate"}  # the options of every preparation that trains
_EPOCHS, _LEARNING_RATE = 2, 1e-5  # the training has to make up for rounding only


class TrainedRecord(FittingNotes, LearningNotes, PreparationRecord):
    """This record says how weights and ranges were fitted, and how weights were trained."""


def require(sources: Sources, format_name: str) -> None:
    """Raise InputError where the layers can't be trained, or the validation split, which chooses the epoch, is empty."""
    sources.folded_for(f"{format_name} trains the layers of the network, and can't here")
    if not members(sources.run, "validation"):
        raise InputError(
            f"{format_name}: the validation split of run {sources.run.name} is empty, and the epoch is chosen by it. "
            "Build on more photos."
        )


def make(sources: Sources, bounds_pairs: bool) -> Material:
    """Train the network of ``fitted`` further, and return the material."""
    start = sources.once(fitted.make, bounds_pairs).prepared
    assert start is not None  # require() has proved that the layers are known
    prepared, learning = train_quantized(start, sources.lessons(_EPOCHS, _LEARNING_RATE), sources.progress)
    return sources.material(prepared, TrainedRecord.of(prepared.fitting, learning), bounds_pairs)


PREPARATION = Preparation("trained", READS, require, make, trains=True)
