"""This module reads what ``tledge import --prepare`` says of a model's input."""

from __future__ import annotations

from typing import NamedTuple

from tledge.backbones.source import MAX_INPUT_SIZE
from tledge.errors import InputError
from tledge.normalization import KEYS, Normalization, given_normalization, given_order, parse_words
from tledge.resizing import Resize, parse_resize

_OPTION, _EXAMPLE = "--prepare", "size=224 resize=crop:256 scale=imagenet order=rgb"


class Given(NamedTuple):
    """This record holds what the user says of a model's input; None stands for what is to be found.

    ``is_bgr`` is the order of the channels. It may be given without the normalization, and the other way round.
    """

    size: int | None = None
    resize: Resize | None = None
    normalization: Normalization | None = None
    is_bgr: bool | None = None


def parse_given(text: str | None) -> Given:
    """Read a text such as ``size=160 resize=squeeze scale=0..255 order=rgb``. Each word may be left out.

    Raises InputError that names a word which can't be taken.
    """
    words = parse_words(_OPTION, text or "", ("size", "resize", *KEYS), _EXAMPLE)
    return Given(
        _size(words.get("size")),
        parse_resize(words["resize"]) if "resize" in words else None,
        given_normalization(_OPTION, words),
        given_order(_OPTION, words),
    )


def _size(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= MAX_INPUT_SIZE:
        raise InputError(f"{_OPTION} size={text}: use a whole number of pixels from 1 to {MAX_INPUT_SIZE}")
    return int(text)
