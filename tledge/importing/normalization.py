"""A ``Normalization`` says which numbers a model takes for a pixel: its range, and the order of its channels."""

from __future__ import annotations

from typing import NamedTuple

Triple = tuple[float, float, float]
_MEAN, _DEVIATION = (
    (0.485, 0.456, 0.406),
    (0.229, 0.224, 0.225),
)  # of ImageNet's photos in [0, 1], as torchvision has them


class Normalization(NamedTuple):
    """A model takes ``pixel * scale + offset`` for a pixel of 0 to 255, for R, G and B each.

    Attributes:
        name: How it is written after ``scale=``, such as ``0..1`` or ``imagenet``.
        scale: The factors of R, G and B.
        offset: The summands of R, G and B.
        is_bgr: Whether the model takes the channels in the order B, G, R.
    """

    name: str
    scale: Triple
    offset: Triple
    is_bgr: bool = False

    def __str__(self) -> str:
        return f"scale={self.name}{' order=bgr' if self.is_bgr else ''}"

    def in_words(self) -> str:
        """Describe what the model takes, as a part of a sentence."""
        order = "BGR" if self.is_bgr else "RGB"
        if self.name == "imagenet":
            return f"{order}, (x / 255 - mean) / std with ImageNet's mean and std"
        return f"{order} in [{self.name.replace('..', ', ')}]" if ".." in self.name else f"{order}, {self.name}"


def of_range(low: float, high: float) -> Normalization:
    """Return the normalization that maps 0 to ``low`` and 255 to ``high``."""
    factor = (high - low) / 255
    return Normalization(f"{low:g}..{high:g}", (factor,) * 3, (low,) * 3)


def of_statistics(name: str, mean: Triple, deviation: Triple) -> Normalization:
    """Return the normalization ``(x / 255 - mean) / deviation``."""
    scale = tuple(1 / (255 * one) for one in deviation)
    offset = tuple(-middle / one for middle, one in zip(mean, deviation, strict=True))
    return Normalization(name, (scale[0], scale[1], scale[2]), (offset[0], offset[1], offset[2]))


IMAGENET = of_statistics("imagenet", _MEAN, _DEVIATION)
CAFFE = Normalization("caffe", (1.0, 1.0, 1.0), (-123.68, -116.779, -103.939))
"""The mean of ImageNet's photos is taken away, and nothing is divided, as in Caffe's networks. They take BGR."""
USUAL = (of_range(0, 255), of_range(0, 1), of_range(-1, 1), IMAGENET, CAFFE)
"""These are the normalizations that are tried where none is given."""


def both_orders(one: Normalization) -> tuple[Normalization, Normalization]:
    """Return a normalization for RGB, and the same for BGR."""
    return one._replace(is_bgr=False), one._replace(is_bgr=True)
