"""This module sums the multiply-accumulates of one inference, for both kinds of file.

A multiply-accumulate is one product added to a sum. Every output of a convolution counts its whole kernel, with the
products that fall on padding. The papers of MobileNet and the profilers count in this way. Biases, activations and
element-wise operators count nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from tledge.errors import ArtifactError

Granularity = Literal["per-channel", "per-tensor"]
MAX_ELEMENTS = 2**31  # A file of either format ends at 2 GiB, and no device holds an activation this large.
_MAX_RANK = 64  # NumPy's limit


@dataclass(frozen=True)
class Product:
    """A product is one convolution or matrix product of a model.

    Attributes:
        macs: number of multiply-accumulates; None where it depends on a shape that is not in the file, or where the
            operator may run any number of times.
        is_integer: whether it computes on integers.
        granularity: how its weights are quantized; None where they are not.
    """

    macs: int | None
    is_integer: bool
    granularity: Granularity | None


def elements(shape: Sequence[int], name: str) -> int:
    """Count the elements of a tensor of this shape. Raises ArtifactError for a shape that no tensor can have."""
    if len(shape) > _MAX_RANK:
        raise ArtifactError(f"tensor {name!r} claims {len(shape)} dimensions")
    total = 1
    for size in shape:
        if size < 0:
            raise ArtifactError(f"tensor {name!r} has a negative size: {list(shape)}")
        total *= size
    if total > MAX_ELEMENTS:
        raise ArtifactError(f"tensor {name!r} claims {total:,} elements, more than a model can hold: {list(shape)}")
    return total


def granularity(num_scales: int, num_channels: int) -> Granularity:
    """Tell whether every output channel has a scale of its own. One scale for the only channel is per-channel."""
    return "per-channel" if num_scales > 1 or num_channels == 1 else "per-tensor"


def totals(products: Iterable[Product]) -> tuple[int | None, float | None, dict[Granularity, int]]:
    """Sum the multiply-accumulates, and count the quantized weight tensors by granularity.

    A product of integer weights and float activations is not integer arithmetic.

    Returns:
        The number of multiply-accumulates, which is None where that of any product is. The share of them in integer
        arithmetic, 0 to 1, which is None there too and where the number is 0. The number of weight tensors by
        granularity.
    """
    found = list(products)
    weights = Counter(product.granularity for product in found if product.granularity is not None)
    counted = [(product.macs, product.is_integer) for product in found if product.macs is not None]
    if len(counted) < len(found):
        return None, None, dict(sorted(weights.items()))
    total = sum(macs for macs, _ in counted)
    share = sum(macs for macs, is_integer in counted if is_integer) / total if total else None
    return total, share, dict(sorted(weights.items()))
