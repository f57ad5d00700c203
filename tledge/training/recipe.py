"""What to do: every number of the training, resolved before it starts."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationError

from tledge.errors import InputError
from tledge.records import Record


class Recipe(Record):
    """Head-only transfer learning on frozen features."""

    name: Literal["head"] = "head"
    max_epochs: int = Field(100, ge=1, le=10_000)
    patience: int = Field(8, ge=1, description="epochs without a lower validation loss before it stops")
    batch_size: int = Field(64, ge=1, le=65_536)
    learning_rate: float = Field(1e-3, gt=0, le=10)
    dropout: float = Field(0.5, ge=0, lt=1)
    label_smoothing: float = Field(0.1, ge=0, lt=1)


def resolve(options: dict[str, int | float | None]) -> Recipe:
    """The default recipe with the given numbers in place; None keeps the default.

    Raises InputError that names the number and its range.
    """
    try:
        return Recipe.model_validate({key: value for key, value in options.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).replace("_", "-")
        raise InputError(f"--{name} {first['input']}: {first['msg'][0].lower()}{first['msg'][1:]}") from error
