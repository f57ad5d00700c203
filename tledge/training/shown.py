"""How a number of a recipe is shown as an option of a command."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shown:
    """The place of a record's field in a command's help; a field without one is no option.

    ``panel``: the heading that the option stands under. ``flag``: its name, where it is not the field's own.
    ``metavar``: what stands for its value.
    """

    panel: str
    flag: str | None = None
    metavar: str | None = None
