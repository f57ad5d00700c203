"""This module lists how networks usually take their pixels, reads ``--file-input``, and says a preparation in words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tledge.errors import InputError
from tledge.verification.foreign.interfaces import Declared
from tledge.workers.adapter import Adapter

Channels = tuple[float, float, float]
Order = Literal["rgb", "bgr"]

EXAMPLE = '--file-input "scale=0..1 order=rgb"'
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CAFFE_MEAN = (123.68, 116.779, 103.939)  # of ImageNet, in pixels: keras.applications' mode "caffe"
_RANGE = re.compile(r"(-?[0-9]+(?:\.[0-9]+)?)\.\.(-?[0-9]+(?:\.[0-9]+)?)")


@dataclass(frozen=True)
class Scale:
    """A scale is (pixel - mean) / std for each channel, in the order red, green, blue, of pixels from 0 to 255."""

    name: str
    words: str
    mean: Channels
    std: Channels


def _of_range(low: float, high: float, words: str = "") -> Scale:
    step = 255 / (high - low)
    name = f"{low:g}..{high:g}"
    return Scale(name, words or f"x from {name}", _three(-low * step + 0.0), _three(step))


def _three(value: float) -> Channels:
    return value, value, value


def _of_fractions(name: str, words: str, mean: Sequence[float], std: Sequence[float]) -> Scale:
    (r, g, b), (u, v, w) = mean, std
    return Scale(name, words, (255 * r, 255 * g, 255 * b), (255 * u, 255 * v, 255 * w))


SCALES = {
    scale.name: scale
    for scale in (
        _of_range(0, 255, "x from 0 to 255"),
        _of_range(0, 1, "x/255"),
        _of_range(-1, 1, "x/127.5 - 1"),
        _of_fractions("imagenet", "(x/255 - mean)/std of ImageNet", _IMAGENET_MEAN, _IMAGENET_STD),
        Scale("caffe", "x - mean of ImageNet, as in Caffe", _CAFFE_MEAN, _three(1.0)),
    )
}
_ORDERS: tuple[Order, ...] = ("rgb", "bgr")


@dataclass(frozen=True)
class Given:
    """``--file-input`` gives a scale, an order of channels, or both. None stands for what is to be found."""

    scale: Scale | None = None
    order: Order | None = None

    @property
    def is_whole(self) -> bool:
        """Tell whether nothing is left to be found."""
        return self.scale is not None and self.order is not None


@dataclass(frozen=True)
class Preparation:
    """A preparation is one way in which a file could take a photo."""

    scale: Scale
    order: Order
    adapter: Adapter

    def words(self) -> str:
        """Say the scale and the order of channels, as ``BGR, x/255``."""
        return f"{self.order.upper()}, {self.scale.words}"

    def as_given(self) -> str:
        """Return the value of ``--file-input`` that asks for this preparation."""
        return (
            f"{self.scale.name} order={self.order}"
            if "=" in self.scale.name
            else f"scale={self.scale.name} order={self.order}"
        )

    def contract(self, declared: Declared) -> str:
        """Say in words what the file takes, as ``float32 NCHW RGB, 224 x 224, x/255``."""
        kind = declared.data_type
        if declared.quantization:
            scale, zero_point = declared.quantization
            kind += f" (scale {scale:.4g}, zero point {zero_point})"
        return f"{kind} {declared.layout} {self.order.upper()}, {declared.side} x {declared.side}, {self.scale.words}"


def parsed(text: str | None) -> Given:
    """Read ``--file-input``: ``scale=NAME``, ``scale=LOW..HIGH``, ``mean=R,G,B std=R,G,B`` and ``order=rgb|bgr``.

    Mean and std are of pixels from 0 to 1. Raises InputError for anything else.
    """
    if text is None:
        return Given()
    parts: dict[str, str] = {}
    for part in text.split():
        key, equals, value = part.partition("=")
        if not equals or key not in ("scale", "order", "mean", "std") or key in parts:
            raise _refused(text, f"{part!r} is no part of it, or stands there twice")
        parts[key] = value
    if not parts:
        raise _refused(text, "it is empty")
    order = parts.get("order")
    if order not in (None, *_ORDERS):
        raise _refused(text, f"order={order} is neither rgb nor bgr")
    if "scale" in parts and ("mean" in parts or "std" in parts):
        raise _refused(text, "give either scale=, or mean= and std=")
    if ("mean" in parts) != ("std" in parts):
        raise _refused(text, "mean= and std= go together")
    scale = None
    if "scale" in parts:
        scale = _scale(text, parts["scale"])
    elif "mean" in parts:
        mean, std = (_numbers(text, parts[key]) for key in ("mean", "std"))
        if min(std) <= 0:
            raise _refused(text, "std= holds a number that is not above 0")
        name = f"mean={parts['mean']} std={parts['std']}"
        scale = _of_fractions(name, f"(x/255 - ({parts['mean']}))/({parts['std']})", mean, std)
    return Given(scale, "bgr" if order == "bgr" else "rgb" if order else None)


def candidates(declared: Declared, given: Given) -> list[Preparation]:
    """List the preparations that a file could want, those that were given first, each input once.

    Two preparations that make the same integers of every pixel are one.
    """
    found: dict[bytes, Preparation] = {}
    for scale in ([given.scale] if given.scale else []) + list(SCALES.values()):
        for order in sorted(_ORDERS, key=lambda one: one != given.order) if given.order else _ORDERS:
            adapter = adapter_for(declared, scale, order)
            found.setdefault(order.encode() + adapter.tables().tobytes(), Preparation(scale, order, adapter))
    return list(found.values())


def adapter_for(declared: Declared, scale: Scale, order: Order) -> Adapter:
    """Return the adapter that brings photos to a file by a scale and an order of channels. It leaves the outputs raw."""
    mean, std = (scale.mean, scale.std) if order == "rgb" else (scale.mean[::-1], scale.std[::-1])
    if declared.data_type in ("uint8", "int8") and declared.quantization is None:
        mean, std = _three(128.0 if declared.data_type == "int8" else 0.0), _three(1.0)
    return replace(
        Adapter(declared.layout, order, data_type=declared.data_type, quantization=declared.quantization, answer="raw"),
        mean=mean,
        std=std,
    )


def allowed(tried: Sequence[Preparation], given: Given) -> Iterator[Preparation]:
    """Yield the preparations that agree with what was given."""
    for one in tried:
        if given.scale in (None, one.scale) and given.order in (None, one.order):
            yield one


def _scale(text: str, value: str) -> Scale:
    if value in SCALES:
        return SCALES[value]
    if not (found := _RANGE.fullmatch(value)) or float(found[1]) >= float(found[2]):
        raise _refused(text, f"scale={value} is none of {', '.join(SCALES)}, nor LOW..HIGH")
    return _of_range(float(found[1]), float(found[2]))


def _numbers(text: str, value: str) -> list[float]:
    try:
        numbers = [float(part) for part in value.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 3 or not all(abs(number) < 1e6 for number in numbers):
        raise _refused(text, f"{value!r} is not three numbers with commas between")
    return numbers


def _refused(text: str, why: str) -> InputError:
    return InputError(f"--file-input {text!r}: {why}. Write it as in {EXAMPLE}.")
