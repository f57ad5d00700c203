"""These records describe how each preparation step (ranges, fitting, pruning, training) changed a network.

Their fields become keys of export.json.
"""

from __future__ import annotations

from pydantic import Field

from tledge.records import Record


class StabilityNotes(Record):
    """These notes say how far the ranges of two halves of the photos differ, as a fraction of the wider range."""

    mean_difference: float
    largest_difference: float
    layer: str = Field(description="the one of the largest difference")


class FittingNotes(Record):
    """These notes record how the int8 weights and the ranges of activations were chosen.

    Only ``fitting`` and ``ranges`` are set where the network has unknown layers.
    """

    fitting: str = Field(description="of how many layers the photos told better weights; or none, and why")
    ranges: str = Field(description="the method that chose the ranges of activations")
    input_scale: float | None = None
    input_zero_point: int | None = None
    range_stability: StabilityNotes | None = Field(default=None, description="None of a single photo")


class LearningNotes(Record):
    """These notes record the training of a quantized or pruned network, and which epoch was kept."""

    epochs: int
    kept_epoch: int = Field(description="0 for the start")
    learning_rate: float
    batch_size: int
    loss: str
    validation_losses: list[float] = Field(description="before the first epoch and after each, in nats a photo")
    validation_agreement: float = Field(description="share of photos whose top-1 class is the float network's")


class ZerosNotes(Record):
    """These notes say how many weights became zero."""

    sparsity: float = Field(description="the share that was asked for")
    zeros: float = Field(description="the share that the file must hold")
    pruned_layers: int
