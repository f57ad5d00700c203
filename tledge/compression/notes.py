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
    layer: str = Field(description="This is the layer whose ranges differ most between the two halves of the photos.")


class FittingNotes(Record):
    """These notes record how the int8 weights and the ranges of activations were chosen.

    Only ``fitting`` and ``ranges`` are set where the network has unknown layers.
    """

    fitting: str = Field(
        description="This says for how many layers the fit improved the weights, or why no weights were fitted."
    )
    ranges: str = Field(description="This is the method that chose the ranges of activations.")
    input_scale: float | None = None
    input_zero_point: int | None = None
    range_stability: StabilityNotes | None = Field(
        default=None,
        description="This says how far the ranges of two halves of the photos differ. The value is None if there is only one "
        "photo.",
    )


class LearningNotes(Record):
    """These notes record the training of a quantized or pruned network, and which epoch was kept."""

    epochs: int
    kept_epoch: int = Field(
        description="This is the epoch whose weights were kept. The value is 0 if the untrained start was kept."
    )
    learning_rate: float
    batch_size: int
    loss: str
    validation_losses: list[float] = Field(
        description="This is the validation loss before the first epoch and after each epoch, in nats per photo."
    )
    validation_agreement: float = Field(
        description="This is the share of validation photos for which the trained and the float network name the same "
        "top-1 class, from 0 to 1."
    )


class ZerosNotes(Record):
    """These notes say how many weights became zero."""

    sparsity: float = Field(description="This is the share of zero weights that was asked for, from 0 to 1.")
    zeros: float = Field(description="This is the share of zero weights that the file must hold, from 0 to 1.")
    pruned_layers: int
