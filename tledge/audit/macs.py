"""Multiply-accumulates of one inference: the sums that both kinds of file share.

A multiply-accumulate is one product added to a sum. Every output of a convolution counts its whole kernel, those
products too that fall on padding, which is how the papers of MobileNet and the profilers count; biases,
activations and element-wise operators count nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from tledge.errors import ArtifactError

Granularity = Literal["per-channel", "per-tensor"]
MAX_ELEMENTS = 2**31  # of one tensor: both formats end at files of 2 GiB, and no device holds an activation this large
_MAX_RANK = 64  # NumPy's limit


@dataclass(frozen=True)
class Product:
    """One convolution or matrix product.

    ``macs``: None where a shape it depends on is not in the file, or where it may run any number of times.
    ``granularity``: None where its weights are not quantized.
    """

    macs: int | None
    is_integer: bool
    granularity: Granularity | None


def elements(shape: Sequence[int], name: str) -> int:
    """How many elements a tensor of this shape has. Raises ArtifactError for a shape that no tensor can have."""
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
    """Whether every output channel has a scale of its own; one scale for the only channel is one a channel."""
    return "per-channel" if num_scales > 1 or num_channels == 1 else "per-tensor"


def totals(products: Iterable[Product]) -> tuple[int | None, float | None, dict[Granularity, int]]:
    """Multiply-accumulates, the part of them in integer arithmetic, and quantized weight tensors by granularity.

    A product of integer weights and float activations is not integer arithmetic. The count is None where that of
    any product is; the share is None there too, and where there is nothing to share.
    """
    found = list(products)
    weights = Counter(product.granularity for product in found if product.granularity is not None)
    counted = [(product.macs, product.is_integer) for product in found if product.macs is not None]
    if len(counted) < len(found):
        return None, None, dict(sorted(weights.items()))
    total = sum(macs for macs, _ in counted)
    share = sum(macs for macs, is_integer in counted if is_integer) / total if total else None
    return total, share, dict(sorted(weights.items()))
