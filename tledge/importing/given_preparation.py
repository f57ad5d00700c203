"""This module parses what ``tledge import --prepare`` says of a model's input."""

from __future__ import annotations

import math
from typing import NamedTuple

from tledge.errors import InputError, unknown
from tledge.importing.normalization import USUAL, Normalization, Triple, of_range, of_statistics
from tledge.resizing import Resize, parse_resize

_KEYS = ("size", "resize", "scale", "mean", "std", "order")
_FORM = 'use words such as --prepare "size=224 resize=crop:256 scale=imagenet order=rgb"'


class Given(NamedTuple):
    """This record holds what the user says of a model's input; None stands for what is to be found.

    ``is_bgr`` is the order of the channels. It may be given without the normalization, and the other way round.
    """

    size: int | None = None
    resize: Resize | None = None
    normalization: Normalization | None = None
    is_bgr: bool | None = None


def parse_given(text: str | None) -> Given:
    """Parse a text such as ``size=160 resize=squeeze scale=0..255 order=rgb``. Each word may be left out.

    ``scale`` is ``imagenet``, ``caffe`` or a range; ``mean`` and ``std``, three numbers each for [0, 1], stand in its place.
    Raises InputError that names the word.
    """
    words: dict[str, str] = {}
    for word in (text or "").split():
        key, is_there, value = word.partition("=")
        if not is_there or not value:
            raise InputError(f"--prepare {word!r}: {_FORM}")
        if key not in _KEYS:
            raise unknown("word of --prepare", key, _KEYS)
        if key in words:
            raise InputError(f"--prepare names {key} twice")
        words[key] = value
    return Given(
        _size(words.get("size")),
        parse_resize(words["resize"]) if "resize" in words else None,
        _normalization(words),
        _order(words.get("order")),
    )


def _size(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= 4096:
        raise InputError(f"--prepare size={text}: use a whole number of pixels from 1 to 4096")
    return int(text)


def _order(text: str | None) -> bool | None:
    if text is not None and text.lower() not in ("rgb", "bgr"):
        raise InputError(f"--prepare order={text}: use rgb or bgr")
    return None if text is None else text.lower() == "bgr"


def _normalization(words: dict[str, str]) -> Normalization | None:
    if "mean" in words or "std" in words:
        if "scale" in words or not {"mean", "std"} <= words.keys():
            raise InputError(
                "--prepare: give mean and std together, in place of scale, as in mean=0.485,0.456,0.406 std=0.229,0.224,0.225"
            )
        mean, deviation = _triple("mean", words["mean"]), _triple("std", words["std"])
        if not all(one > 0 for one in deviation):
            raise InputError(f"--prepare std={words['std']}: use numbers above 0")
        return of_statistics(f"mean={words['mean']} std={words['std']}", mean, deviation)
    if "scale" not in words:
        return None
    found = {one.name: one for one in USUAL}
    if words["scale"] in found:
        return found[words["scale"]]
    low, is_range, high = words["scale"].partition("..")
    if not is_range:
        raise unknown("scale of --prepare", words["scale"], found, "Or give a range, such as 0..255.")
    first, last = _number("scale", low), _number("scale", high)
    if first >= last:
        raise InputError(f"--prepare scale={words['scale']}: begin with the smaller number")
    return of_range(first, last)


def _triple(key: str, text: str) -> Triple:
    numbers = [_number(key, one) for one in text.split(",")]
    if len(numbers) not in (1, 3):
        raise InputError(f"--prepare {key}={text}: give one number, or three with commas between, for R, G and B")
    red, green, blue = numbers * (3 // len(numbers))
    return red, green, blue


def _number(key: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"--prepare {key}: {text!r} is no number")
    return value
