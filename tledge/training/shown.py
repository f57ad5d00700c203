"""This module says how a field of a recipe is shown as an option of a command."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shown:
    """This marks a record's field as an option, and places it in a command's help; a field without it is no option.

    ``panel`` is the heading that the option stands under. ``flag`` is its name, where it differs from the field's.
    ``metavar`` stands for the value in the help.
    """

    panel: str
    flag: str | None = None
    metavar: str | None = None
