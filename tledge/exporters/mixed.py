"""Which operators of a converted graph stay float, where some layers of its network are to."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any, TypeVar

from tledge.records import Promise

PROMISE: Promise = "mixed integer and float"
SUFFIX = "-mixed"  # of a format's name
Tensor = TypeVar("Tensor", bound=Hashable)


def float_operators(
    operators: Sequence[tuple[Sequence[Tensor], Sequence[Tensor]]],
    names: Mapping[Tensor, Sequence[str]],
    float_layers: Collection[str],
) -> list[int]:
    """The places of those that compute in float, among ``operators``: what each reads and writes, after what it reads.

    ``names``: of the layers whose outputs a tensor holds. An operator in the middle of a layer, or between two, is float
    where all that read it are.
    """
    is_float: dict[int, bool] = {}
    readers: dict[Tensor, list[int]] = {}
    for place, (taken, given) in reversed(list(enumerate(operators))):
        held = {name for tensor in given for name in names.get(tensor, ())}
        after = [reader for tensor in given for reader in readers.get(tensor, ())]
        is_float[place] = (
            bool(held & set(float_layers)) if held else bool(after) and all(is_float[one] for one in after)
        )
        for tensor in taken:
            readers.setdefault(tensor, []).append(place)
    return sorted(place for place, found in is_float.items() if found)


def float_options(operators: Mapping[str, int]) -> dict[str, Any]:
    """What the record of a mixed file says beside that of its integer format; its audit looks for these operators."""
    return {"weights": "int8, per-channel, and float32", "float_operators": dict(sorted(operators.items()))}
