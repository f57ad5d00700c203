"""This module holds the options of integer formats, and checks their values."""

from __future__ import annotations

from dataclasses import dataclass

from tledge.compression.calibration import require_method
from tledge.compression.clustering import require_clusters
from tledge.compression.pruning import require_share
from tledge.errors import InputError
from tledge.exporters.representative import require_samples

_MAX_EPOCHS = 1000


@dataclass(frozen=True)
class Options:
    """``Options`` holds what a user may set of integer formats. None leaves a value to the format.

    Args:
        calibration_samples: The number of photos in the representative data set, at least 1.
        calibration: The method that chooses the ranges of activations.
        epochs: The epochs of the formats that train, 1 to 1000.
        learning_rate: The learning rate of the formats that train, above 0 and below 1.
        sparsity: The share of weights that become zero.
        clusters: How many quantized values the weights of a clustered layer may have.
        int8_saturates: Whether the CPU may add two products of quantized values in 16 bits, as many do. Formats whose runtime
            does so then bound their weights, so that they answer the same on every CPU.

    Raises:
        InputError: A value is out of its range, or no method has this name.
    """

    calibration_samples: int | None = None
    calibration: str | None = None
    epochs: int | None = None
    learning_rate: float | None = None
    sparsity: float | None = None
    clusters: int | None = None
    int8_saturates: bool = True

    def __post_init__(self) -> None:
        if self.calibration_samples is not None:
            require_samples(self.calibration_samples)
        if self.calibration is not None:
            require_method(self.calibration)
        if self.epochs is not None and not 1 <= self.epochs <= _MAX_EPOCHS:
            raise InputError(f"--epochs {self.epochs}: use 1 to {_MAX_EPOCHS}")
        if self.learning_rate is not None and not 0 < self.learning_rate < 1:
            raise InputError(f"--learning-rate {self.learning_rate:g}: use a rate above 0 and below 1, such as 1e-5")
        if self.sparsity is not None:
            require_share(self.sparsity)
        if self.clusters is not None:
            require_clusters(self.clusters)
