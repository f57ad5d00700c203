"""A ``Material`` is what an integer format is made from, and a ``PreparationRecord`` says how it was made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from pydantic import Field

from tledge.compression import PreparedNetwork
from tledge.preprocessing import Pixels
from tledge.records import CalibrationRecord, Record


class PreparationRecord(Record):
    """A ``PreparationRecord`` holds what every preparation writes to export.json, below ``options``.

    Each preparation adds its own values in a class that derives from this one.
    """

    largest_pair_sum: int | None = Field(
        default=None,
        description="This is the bound of the absolute sum of two int8 weights whose products a CPU adds in one step. The value "
        "is None if the weights are not bound.",
    )

    @classmethod
    def of(cls, *notes: Record, **own: Any) -> Self:
        """Join the notes of several steps and the preparation's own values."""
        return cls.model_validate({name: value for part in notes for name, value in part} | own)

    def options(self) -> dict[str, Any]:
        """Return the values for export.json as plain JSON types. A value of None has no key."""
        return self.model_dump(mode="json", exclude_none=True)


@dataclass(frozen=True)
class Material:
    """A ``Material`` is what an integer format is made from.

    Args:
        calibration: What export.json says of the representative data set.
        calibration_photos: The photos of the representative data set, uint8 (N, S, S, 3).
        prepared: The prepared network. It is None where the layers are unknown.
        record: What export.json says of the preparation.
        bounds_pairs: Whether the products of every pair of int8 weights fit into 16 bits, as in a ``Grid``.
    """

    calibration: CalibrationRecord
    calibration_photos: Pixels
    prepared: PreparedNetwork | None
    record: PreparationRecord
    bounds_pairs: bool = False
