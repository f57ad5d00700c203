"""This preparation sets a share of the weights to zero, clusters the others of each large layer, and trains them."""

from __future__ import annotations

from tledge.compression.notes import ZerosNotes
from tledge.exporters.preparations import clustered, pruned
from tledge.exporters.preparations.material import Material
from tledge.exporters.preparations.preparation import Preparation
from tledge.exporters.preparations.sources import Sources


class PrunedClusteredRecord(ZerosNotes, clustered.ClusteredRecord):
    """This record says how weights became zero, and how the others were clustered and trained."""


def require(sources: Sources, format_name: str) -> None:
    """Raise InputError where the network can't be pruned, or can't be clustered."""
    clustered.require(sources, format_name)
    pruned.require(sources, format_name)


def make(sources: Sources, bounds_pairs: bool) -> Material:
    """Prune the run's network, cluster the weights that are left, train it, and return the material."""
    folded, zeros = sources.once(pruned.with_zeros)
    prepared, learning, own = clustered.clustered(sources, folded, keeps_zeros=True)
    return sources.material(prepared, PrunedClusteredRecord.of(prepared.fitting, learning, zeros, **own), bounds_pairs)


PREPARATION = Preparation("pruned, clustered", clustered.READS | pruned.READS, require, make, trains=True)
