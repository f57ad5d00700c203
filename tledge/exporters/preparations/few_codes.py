"""A network on few codes: what pruned and clustered networks have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tledge.compression import PreparedNetwork
from tledge.compression.codes import Codebook, Grid, uniform
from tledge.compression.few_bits import with_short_biases, with_short_ranges
from tledge.compression.folding import Folded
from tledge.compression.layer_roles import is_weighted, kernel_of
from tledge.compression.notes import FittingNotes, LearningNotes
from tledge.compression.qat import train_quantized
from tledge.exporters.preparations.material import PreparationRecord
from tledge.exporters.preparations.sources import Sources

# Significant bits of the scales of weights and of activations, and codes of a depthwise kernel: more make a file larger, and errors
# no smaller.
_SCALE_BITS, _RANGE_BITS, _CODES_OF_DEPTHWISE = 4, 2, 63


class FewCodesRecord(FittingNotes, LearningNotes, PreparationRecord):
    """How weights were fitted to few codes, at most ``codes`` in a layer, and trained."""

    codes: int
    weight_scale_bits: int = _SCALE_BITS
    activation_scale_bits: int = _RANGE_BITS
    depthwise_codes: int = _CODES_OF_DEPTHWISE


def on_few_codes(
    sources: Sources,
    folded: Folded,
    books: Mapping[str, Codebook],
    epochs: int,
    learning_rate: float,
    *,
    keeps_zeros: bool,
) -> tuple[PreparedNetwork, LearningNotes]:
    """Fit a network to these codes, each layer to what those before it lost, and then train it.

    Ranges are widened between the two, and biases rounded at the end: beside what few codes of weights lose, neither counts.
    """
    layers = list(filter(is_weighted, folded.network.layers))
    of_one_channel = [layer.name for layer in layers if not kernel_of(layer).sums_channels]
    every = {name: uniform(_CODES_OF_DEPTHWISE) for name in of_one_channel} | dict(books)
    grids = {layer.name: Grid(every.get(layer.name), _SCALE_BITS) for layer in layers}
    options: dict[str, Any] = {"keeps_zeros": keeps_zeros, "grids": grids}
    start = with_short_ranges(sources.fitted(folded, **options), _RANGE_BITS)
    prepared, learning = train_quantized(start, sources.lessons(epochs, learning_rate), sources.progress, **options)
    return with_short_biases(prepared, grids), learning
