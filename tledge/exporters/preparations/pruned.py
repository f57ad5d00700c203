"""This preparation sets a share of the weights to zero, fits the others to few quantized values, and trains them."""

from __future__ import annotations

from tledge.compression.codes import large, uniform
from tledge.compression.folding import Folded
from tledge.compression.notes import ZerosNotes
from tledge.compression.pruning import prune, require_zeros
from tledge.exporters.preparations import trained
from tledge.exporters.preparations.few_codes import FewCodesRecord, on_few_codes
from tledge.exporters.preparations.material import Material
from tledge.exporters.preparations.preparation import Preparation
from tledge.exporters.preparations.sources import Sources

READS = trained.READS | {"sparsity"}
_SHARE = 0.5
# How many quantized values a large layer has. With all 8 bits, its other weights would cost a compressed file more than the
# zeros save.
_CODES = 65
_EPOCHS, _LEARNING_RATE = 5, 1e-4  # more than for rounding alone, because weights were taken away


class PrunedRecord(ZerosNotes, FewCodesRecord):
    """This record says how weights became zero, and how the others were fitted to few quantized values and trained."""


def require(sources: Sources, format_name: str) -> None:
    """Raise InputError where the network can't be trained, or no weight of it would become zero."""
    trained.require(sources, format_name)
    require_zeros(sources.folded, _share(sources))


def with_zeros(sources: Sources) -> tuple[Folded, ZerosNotes]:
    """Return the run's network with a share of its weights set to zero, not yet fitted, and notes on the zeros."""
    return prune(sources.folded, _share(sources), sources.calibration_photos, sources.progress)


def make(sources: Sources, bounds_pairs: bool) -> Material:
    """Prune the run's network, fit the weights that are left to few quantized values, train it, and return the material."""
    folded, zeros = sources.once(with_zeros)
    books = {layer.name: uniform(_CODES) for layer in large(folded.network)}
    prepared, learning = on_few_codes(sources, folded, books, _EPOCHS, _LEARNING_RATE, keeps_zeros=True)
    return sources.material(prepared, PrunedRecord.of(prepared.fitting, learning, zeros, codes=_CODES), bounds_pairs)


def _share(sources: Sources) -> float:
    return sources.options.sparsity or _SHARE


PREPARATION = Preparation("pruned", READS, require, make, trains=True)
