"""This module lists how a file may take its pixels, reads ``--file-input``, and says a preparation in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from tledge.errors import InputError
from tledge.normalization import KEYS, USUAL, Normalization, both_orders, given_normalization, given_order, parse_words
from tledge.verification.foreign.interfaces import Declared
from tledge.workers.adapter import Adapter

_OPTION, _EXAMPLE = "--file-input", "scale=0..1 order=rgb"
EXAMPLE = f'{_OPTION} "{_EXAMPLE}"'


class Given(NamedTuple):
    """``--file-input`` gives a normalization for RGB, an order of channels, or both. None stands for what is to be found."""

    normalization: Normalization | None = None
    is_bgr: bool | None = None

    @property
    def is_whole(self) -> bool:
        """Tell whether nothing is left to be found."""
        return self.normalization is not None and self.is_bgr is not None

    def agrees(self, one: Normalization) -> bool:
        """Tell whether a normalization is one that was asked for."""
        is_asked = self.normalization is None or one._replace(is_bgr=False) == self.normalization
        return is_asked and self.is_bgr in (None, one.is_bgr)


@dataclass(frozen=True)
class Preparation:
    """A preparation is one way in which a file could take a photo."""

    normalization: Normalization
    adapter: Adapter

    def words(self) -> str:
        """Say the order of channels and the normalization, as ``BGR, x/255``."""
        return self.normalization.in_words()

    def as_given(self) -> str:
        """Return the value of ``--file-input`` that asks for this preparation."""
        return str(self.normalization)

    def contract(self, declared: Declared) -> str:
        """Say in words what the file takes, as ``float32 NCHW RGB, 224 x 224, x/255``."""
        kind = declared.data_type
        if declared.quantization:
            scale, zero_point = declared.quantization
            kind += f" (scale {scale:.4g}, zero point {zero_point})"
        order = self.normalization.order.upper()
        return f"{kind} {declared.layout} {order}, {declared.side} x {declared.side}, {self.normalization.words}"


def parsed(text: str | None) -> Given:
    """Read ``--file-input``, such as ``scale=0..1 order=rgb``. Each word may be left out, but not all.

    Raises InputError that names a word which can't be taken.
    """
    if text is None:
        return Given()
    words = parse_words(_OPTION, text, KEYS, _EXAMPLE)
    if not words:
        raise InputError(f"{_OPTION} {text!r}: it is empty. Write it as in {EXAMPLE}.")
    return Given(given_normalization(_OPTION, words), given_order(_OPTION, words))


def candidates(declared: Declared, given: Given) -> list[Preparation]:
    """List the preparations that a file could want, those that were given first, each input once.

    Two preparations that make the same integers of every pixel are one.
    """
    asked = [given.normalization] if given.normalization else []
    known = [order for one in [*asked, *USUAL.values()] for order in both_orders(one)]
    found: dict[bytes, Preparation] = {}
    for one in sorted(known, key=lambda one: not given.agrees(one)):
        adapter = adapter_for(declared, one)
        found.setdefault(one.order.encode() + adapter.tables().tobytes(), Preparation(one, adapter))
    return list(found.values())


def adapter_for(declared: Declared, one: Normalization) -> Adapter:
    """Return the adapter that brings photos to a file by a normalization. It leaves the outputs raw."""
    order: Literal["rgb", "bgr"] = "bgr" if one.is_bgr else "rgb"
    mean, std = (one.mean[::-1], one.std[::-1]) if one.is_bgr else (one.mean, one.std)
    if declared.data_type in ("uint8", "int8") and declared.quantization is None:
        middle = 128.0 if declared.data_type == "int8" else 0.0
        mean, std = (middle, middle, middle), (1.0, 1.0, 1.0)
    return replace(
        Adapter(declared.layout, order, data_type=declared.data_type, quantization=declared.quantization, answer="raw"),
        mean=mean,
        std=std,
    )


def allowed(tried: Sequence[Preparation], given: Given) -> Iterator[Preparation]:
    """Yield the preparations that agree with what was given."""
    yield from (one for one in tried if given.agrees(one.normalization))
