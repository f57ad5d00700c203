"""This preparation clusters the weights of each large layer on few quantized values, and trains them."""

from __future__ import annotations

from typing import Any

from tledge.compression import PreparedNetwork
from tledge.compression.clustering import DEFAULT_CLUSTERS, codebooks
from tledge.compression.folding import Folded
from tledge.compression.notes import LearningNotes
from tledge.exporters.preparations import trained
from tledge.exporters.preparations.few_codes import FewCodesRecord, on_few_codes
from tledge.exporters.preparations.material import Material
from tledge.exporters.preparations.preparation import Preparation
from tledge.exporters.preparations.sources import Sources

READS = trained.READS | {"clusters"}
_EPOCHS, _LEARNING_RATE = 4, 5e-5  # at a higher rate, weights swing between the few quantized values


class ClusteredRecord(FewCodesRecord):
    """This record says how weights were clustered on few quantized values and trained."""

    clusters: int
    clustered_layers: int


def require(sources: Sources, format_name: str) -> None:
    """Raise InputError where the network can't be trained, or no layer is large enough to gain from clustering."""
    trained.require(sources, format_name)
    codebooks(sources.folded.network, DEFAULT_CLUSTERS)


def clustered(
    sources: Sources, folded: Folded, *, keeps_zeros: bool
) -> tuple[PreparedNetwork, LearningNotes, dict[str, Any]]:
    """Cluster the weights of a network, and train it.

    ``keeps_zeros``: whether weights that are zero stay zero. Returns the network, notes on the training, and the other values
    of :class:`ClusteredRecord` by their names.
    """
    count = sources.options.clusters or DEFAULT_CLUSTERS
    books = codebooks(folded.network, count)
    prepared, learning = on_few_codes(sources, folded, books, _EPOCHS, _LEARNING_RATE, keeps_zeros=keeps_zeros)
    most = max(len(book.values) for book in books.values())
    return prepared, learning, {"clusters": count, "codes": most, "clustered_layers": len(books)}


def make(sources: Sources, bounds_pairs: bool) -> Material:
    """Cluster the weights of the run's network, train it, and return the material."""
    prepared, learning, own = clustered(sources, sources.folded, keeps_zeros=False)
    return sources.material(prepared, ClusteredRecord.of(prepared.fitting, learning, **own), bounds_pairs)


PREPARATION = Preparation("clustered", READS, require, make, trains=True)
