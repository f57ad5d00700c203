"""This module names the settings that limit how far training photos are changed, and presets of them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tledge.record_base import Record
from tledge.training.shown import Shown

MAX_MAGNITUDE = 10.0


class Augmentation(Record):
    """These settings limit how far a training photo is changed.

    Every number is drawn evenly between its limits, and 0 turns a setting off.
    """

    horizontal_flip: Annotated[bool, Shown("Photos", "--flip")] = Field(
        False,
        description="Mirror half of the training photos left to right. Turn it off where left and right mean something, "
        "as in text.",
    )
    vertical_flip: bool = Field(False, description="Mirror half of the training photos top to bottom.")
    rotation_degrees: float = Field(
        0, ge=0, le=180, description="Turn each photo by up to this angle in degrees, clockwise or counterclockwise."
    )
    shift: float = Field(
        0,
        ge=0,
        lt=1,
        description="Move each photo by up to this fraction of its side, both horizontally and vertically.",
    )
    shear_degrees: float = Field(
        0, ge=0, le=60, description="Shear each photo along its rows by up to this angle in degrees, to either side."
    )
    zoom: float = Field(0, ge=0, lt=1, description="Scale each photo by a factor between 1 - zoom and 1 + zoom.")
    crop: float = Field(
        1,
        gt=0,
        le=1,
        description="Crop each photo to at least this fraction of its area, with an aspect ratio from 3:4 to 4:3; 1 "
        "turns it off.",
    )
    brightness: float = Field(
        0, ge=0, le=1, description="Multiply the brightness by a factor between 1 - brightness and 1 + brightness."
    )
    contrast: float = Field(
        0,
        ge=0,
        le=1,
        description="Multiply the contrast about the mean by a factor between 1 - contrast and 1 + contrast.",
    )
    saturation: float = Field(
        0, ge=0, le=1, description="Multiply the saturation by a factor between 1 - saturation and 1 + saturation."
    )
    hue: float = Field(
        0, ge=0, le=0.5, description="Turn the hue by up to this fraction of the colour circle, in either direction."
    )
    randaugment_layers: int = Field(
        0, ge=0, le=8, description="Apply this many RandAugment operations to each photo, after all other changes."
    )
    randaugment_magnitude: float = Field(
        5, ge=0, le=MAX_MAGNITUDE, description="Apply RandAugment operations with this strength, from 0 to 10."
    )


PRESETS: dict[str, Augmentation] = {
    "none": Augmentation(),
    "light": Augmentation(
        horizontal_flip=True, rotation_degrees=10, shift=0.05, zoom=0.1,
        brightness=0.1, contrast=0.1, saturation=0.1, hue=0.01,
    ),
    "strong": Augmentation(
        horizontal_flip=True, rotation_degrees=40, shift=0.2, shear_degrees=10, zoom=0.2, crop=0.7,
        brightness=0.15, contrast=0.15, saturation=0.2, hue=0.02,
    ),
    "randaugment": Augmentation(horizontal_flip=True, crop=0.6, randaugment_layers=2),
}  # fmt: skip
