"""What a format of integers is made from, and what export.json says of how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from pydantic import Field

from tledge.compression import PreparedNetwork
from tledge.preprocessing import Pixels
from tledge.records import CalibrationRecord, Record


class PreparationRecord(Record):
    """What every preparation says in export.json, below ``options``; a class of its own for each adds to it."""

    largest_pair_sum: int | None = Field(
        default=None,
        description="what two int8 weights that a CPU adds products of reach; None where they are not bound",
    )

    @classmethod
    def of(cls, *notes: Record, **own: Any) -> Self:
        """Join the notes of several steps and the preparation's own values."""
        return cls.model_validate({name: value for part in notes for name, value in part} | own)

    def options(self) -> dict[str, Any]:
        """Return what export.json holds of it: plain JSON types, and no key for what is None."""
        return self.model_dump(mode="json", exclude_none=True)


@dataclass(frozen=True)
class Material:
    """What a format of integers is made from.

    ``calibration``: what export.json says of the representative data set. ``calibration_photos``: its photos, uint8
    (N, S, S, 3). ``prepared``: None where the layers are unknown. ``bounds_pairs``: of
    int8 weights, as in a ``Grid``.
    """

    calibration: CalibrationRecord
    calibration_photos: Pixels
    prepared: PreparedNetwork | None
    record: PreparationRecord
    bounds_pairs: bool = False
