"""A ``Normalization`` says which numbers a network takes for a pixel: their range, and the order of the channels.

The words for it are one grammar, which ``import --prepare`` and ``verify --file-input`` share.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from tledge.errors import InputError, unknown

Triple = tuple[float, float, float]
LUMA: Triple = (0.299, 0.587, 0.114)
"""These are the weights of R, G and B in a grey pixel by ITU-R BT.601, as Pillow and the YIQ colour space use them."""
_MEAN, _DEVIATION = (
    (0.485, 0.456, 0.406),
    (0.229, 0.224, 0.225),
)  # of ImageNet's photos in [0, 1], as torchvision has them
_CAFFE_MEAN = (123.68, 116.779, 103.939)  # of ImageNet's photos in [0, 255]
_RANGES = {"0..255": "x from 0 to 255", "0..1": "x/255", "-1..1": "x/127.5 - 1"}
KEYS = ("scale", "mean", "std", "order")
_LARGEST = 1e6


class Normalization(NamedTuple):
    """A network takes ``(pixel - mean) / std`` for a pixel of 0 to 255, for R, G and B each.

    Attributes:
        name: How it is asked for: ``0..1`` or ``imagenet``, or both words of ``mean=... std=...``.
        words: How it is told, such as ``x/255``.
        mean: What is subtracted from R, G and B.
        std: What the differences are divided by.
        is_bgr: Whether the network takes the channels in the order B, G, R.
    """

    name: str
    words: str
    mean: Triple
    std: Triple
    is_bgr: bool = False

    @property
    def order(self) -> str:
        """Return ``rgb`` or ``bgr``."""
        return "bgr" if self.is_bgr else "rgb"

    @property
    def scale(self) -> Triple:
        """Return the factors s of ``pixel * s + offset`` for R, G and B."""
        red, green, blue = (1 / one for one in self.std)
        return red, green, blue

    @property
    def offset(self) -> Triple:
        """Return the summands o of ``pixel * scale + o`` for R, G and B."""
        red, green, blue = (-middle / one for middle, one in zip(self.mean, self.std, strict=True))
        return red, green, blue

    def __str__(self) -> str:
        scale = self.name if "=" in self.name else f"scale={self.name}"
        return f"{scale} order={self.order}"

    def in_words(self) -> str:
        """Say the order of the channels and what is taken for a pixel x, as ``BGR, x/255``."""
        return f"{self.order.upper()}, {self.words}"


def of_range(low: float, high: float) -> Normalization:
    """Return the normalization that maps 0 to ``low`` and 255 to ``high``."""
    step = 255 / (high - low)
    name = f"{low:g}..{high:g}"
    return Normalization(name, _RANGES.get(name, f"x from {name}"), (-low * step + 0.0,) * 3, (step,) * 3)


def of_statistics(name: str, words: str, mean: Sequence[float], std: Sequence[float]) -> Normalization:
    """Return the normalization ``(x / 255 - mean) / std`` of three numbers each."""
    (red, green, blue), (u, v, w) = mean, std
    return Normalization(name, words, (255 * red, 255 * green, 255 * blue), (255 * u, 255 * v, 255 * w))


IMAGENET = of_statistics("imagenet", "(x/255 - mean)/std of ImageNet", _MEAN, _DEVIATION)
CAFFE = Normalization("caffe", "x - mean of ImageNet, as in Caffe", _CAFFE_MEAN, (1.0, 1.0, 1.0))
USUAL = {
    one.name: one
    for one in (
        of_range(0, 255), of_range(0, 1), of_range(-1, 1), IMAGENET, CAFFE,
    )
}  # fmt: skip
"""These are the normalizations that are tried where none is given, by their names."""


def both_orders(one: Normalization) -> tuple[Normalization, Normalization]:
    """Return a normalization for RGB, and the same for BGR."""
    return one._replace(is_bgr=False), one._replace(is_bgr=True)


def parse_words(option: str, text: str, keys: Iterable[str], example: str) -> dict[str, str]:
    """Read words such as ``scale=0..1 order=rgb`` by their keys.

    ``option`` names the option in errors, and ``example`` is a value of it. Raises InputError for a word that has no ``=``, an
    unknown key, or a key that comes twice.
    """
    known = tuple(keys)
    words: dict[str, str] = {}
    for word in text.split():
        key, is_there, value = word.partition("=")
        if not is_there or not value:
            raise InputError(f'{option} {word!r}: use words as in {option} "{example}"')
        if key not in known:
            raise unknown(f"word of {option}", key, known, f'Write it as in {option} "{example}".')
        if key in words:
            raise InputError(f"{option} names {key} twice")
        words[key] = value
    return words


def given_order(option: str, words: Mapping[str, str]) -> bool | None:
    """Return whether the words ask for BGR; None where they say nothing of the order. Raises InputError for another order."""
    text = words.get("order")
    if text is not None and text.lower() not in ("rgb", "bgr"):
        raise InputError(f"{option} order={text}: use rgb or bgr")
    return None if text is None else text.lower() == "bgr"


def given_normalization(option: str, words: Mapping[str, str]) -> Normalization | None:
    """Return the normalization for RGB that ``scale``, or ``mean`` and ``std``, ask for; None where there is none of them.

    ``scale`` is ``imagenet``, ``caffe`` or a range. ``mean`` and ``std`` are for pixels in [0, 1]. Raises InputError for anything
    else.
    """
    if "mean" in words or "std" in words:
        if "scale" in words or not {"mean", "std"} <= words.keys():
            raise InputError(
                f"{option}: give mean and std together, in place of scale, as in mean=0.485,0.456,0.406 std=0.229,0.224,0.225"
            )
        mean, std = _triple(option, "mean", words["mean"]), _triple(option, "std", words["std"])
        if not all(one > 0 for one in std):
            raise InputError(f"{option} std={words['std']}: use numbers above 0")
        told = f"(x/255 - ({words['mean']}))/({words['std']})"
        return of_statistics(f"mean={words['mean']} std={words['std']}", told, mean, std)
    if "scale" not in words:
        return None
    if words["scale"] in USUAL:
        return USUAL[words["scale"]]
    low, is_range, high = words["scale"].partition("..")
    if not is_range:
        raise unknown(f"scale of {option}", words["scale"], USUAL, "Or give a range, such as 0..255.")
    first, last = _number(option, "scale", low), _number(option, "scale", high)
    if first >= last:
        raise InputError(f"{option} scale={words['scale']}: begin with the smaller number")
    return of_range(first, last)


def _triple(option: str, key: str, text: str) -> Triple:
    numbers = [_number(option, key, one) for one in text.split(",")]
    if len(numbers) not in (1, 3):
        raise InputError(f"{option} {key}={text}: give one number, or three with commas between, for R, G and B")
    red, green, blue = numbers * (3 // len(numbers))
    return red, green, blue


def _number(option: str, key: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= _LARGEST:
        raise InputError(f"{option} {key}: {text!r} is no number that a pixel can have")
    return value
