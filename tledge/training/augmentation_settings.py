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
    vertical_flip: bool = Field(False, description="mirrored top to bottom at even odds")
    rotation_degrees: float = Field(0, ge=0, le=180, description="turned by up to this, either way")
    shift: float = Field(0, ge=0, lt=1, description="moved by up to this part of the side, along and across")
    shear_degrees: float = Field(0, ge=0, le=60, description="sheared along the rows by up to this, either way")
    zoom: float = Field(0, ge=0, lt=1, description="enlarged 1 - zoom to 1 + zoom times")
    crop: float = Field(
        1, gt=0, le=1, description="smallest part of the area kept; the aspect is drawn from 3:4 to 4:3; 1 is off"
    )
    brightness: float = Field(0, ge=0, le=1, description="1 - brightness to 1 + brightness times as bright")
    contrast: float = Field(0, ge=0, le=1, description="contrast about the mean, 1 - contrast to 1 + contrast times")
    saturation: float = Field(0, ge=0, le=1, description="1 - saturation to 1 + saturation times as colourful")
    hue: float = Field(0, ge=0, le=0.5, description="hue turned by up to this part of the colour circle, either way")
    randaugment_layers: int = Field(0, ge=0, le=8, description="RandAugment operations a photo, after all others")
    randaugment_magnitude: float = Field(5, ge=0, le=MAX_MAGNITUDE, description="their strength")


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
