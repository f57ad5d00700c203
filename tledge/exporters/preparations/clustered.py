"""The weights of each large layer have few codes, and are trained."""

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
_EPOCHS, _LEARNING_RATE = 4, 5e-5  # at a higher rate weights go to and fro between few codes


class ClusteredRecord(FewCodesRecord):
    """How weights were fitted to few codes and trained."""

    clusters: int
    clustered_layers: int


def require(sources: Sources, format_name: str) -> None:
    """Raise InputError where the network can't be trained, or has no layer with so many weights that few codes help."""
    trained.require(sources, format_name)
    codebooks(sources.folded.network, DEFAULT_CLUSTERS)


def clustered(
    sources: Sources, folded: Folded, *, keeps_zeros: bool
) -> tuple[PreparedNetwork, LearningNotes, dict[str, Any]]:
    """Fit a network to clustered codes. Returns notes on the training, and the record's own values, by name."""
    count = sources.options.clusters or DEFAULT_CLUSTERS
    books = codebooks(folded.network, count)
    prepared, learning = on_few_codes(sources, folded, books, _EPOCHS, _LEARNING_RATE, keeps_zeros=keeps_zeros)
    most = max(len(book.values) for book in books.values())
    return prepared, learning, {"clusters": count, "codes": most, "clustered_layers": len(books)}


def make(sources: Sources, bounds_pairs: bool) -> Material:
    """Cluster the network's codes."""
    prepared, learning, own = clustered(sources, sources.folded, keeps_zeros=False)
    return sources.material(prepared, ClusteredRecord.of(prepared.fitting, learning, **own), bounds_pairs)


PREPARATION = Preparation("clustered", READS, require, make, trains=True)
