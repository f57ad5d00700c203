"""This module fits a network to few quantized values a layer, as pruned and clustered networks both need it."""

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

# The significant bits of the scales of weights and of activations, and the number of quantized values of a depthwise kernel.
# Larger numbers make a file larger, and its errors no smaller.
_SCALE_BITS, _RANGE_BITS, _CODES_OF_DEPTHWISE = 4, 2, 63


class FewCodesRecord(FittingNotes, LearningNotes, PreparationRecord):
    """This record says how weights were fitted to at most ``codes`` quantized values a layer, and trained."""

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
    """Fit the weights of a network to the quantized values in ``books``, and then train it.

    Each layer is fitted so that it makes up for what the layers before it lost. Ranges are widened to scales of few bits
    before the training, and biases are rounded after it. Both cost little beside the loss by the few weight values.

    Args:
        sources: The run's photos, options and progress.
        folded: The network as plain layers.
        books: The quantized values that a layer's weights may have, by the name of the layer.
        epochs: The epochs of the training, where the user sets none.
        learning_rate: The learning rate of the training, where the user sets none.
        keeps_zeros: Whether weights that are zero stay zero.

    Returns:
        The trained network, and notes on the training.
    """
    layers = list(filter(is_weighted, folded.network.layers))
    of_one_channel = [layer.name for layer in layers if not kernel_of(layer).sums_channels]
    every = {name: uniform(_CODES_OF_DEPTHWISE) for name in of_one_channel} | dict(books)
    grids = {layer.name: Grid(every.get(layer.name), _SCALE_BITS) for layer in layers}
    options: dict[str, Any] = {"keeps_zeros": keeps_zeros, "grids": grids}
    start = with_short_ranges(sources.fitted(folded, **options), _RANGE_BITS)
    prepared, learning = train_quantized(start, sources.lessons(epochs, learning_rate), sources.progress, **options)
    return with_short_biases(prepared, grids), learning
