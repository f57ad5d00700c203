"""This module decides which operators of a converted graph stay float, where some layers of the network are to stay float."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any, TypeVar

from tledge.records import Promise

PROMISE: Promise = "mixed integer and float"
Tensor = TypeVar("Tensor", bound=Hashable)


def float_operators(
    operators: Sequence[tuple[Sequence[Tensor], Sequence[Tensor]]],
    names: Mapping[Tensor, Sequence[str]],
    float_layers: Collection[str],
) -> list[int]:
    """Return the places in ``operators`` of those that compute in float, in ascending order.

    An operator in the middle of a layer, or between two layers, is float where all operators that read it are.

    Args:
        operators: The tensors that each operator reads and writes. Every operator comes after those that it reads.
        names: The names of the layers whose outputs a tensor holds, by the tensor.
        float_layers: The names of the layers that stay float.
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
    """Return the options that the record of a mixed file adds to those of its integer format.

    ``operators``: how many operators stay float, by the operator's name. The audit looks for them in the file.
    """
    return {"weights": "int8, per-channel, and float32", "float_operators": dict(sorted(operators.items()))}
