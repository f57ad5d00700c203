"""This module finds which tensor of a converted model holds which layer's output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

SAME = 1e-4  # tolerance as a part of the output's range: floats may be summed in another order
_LAST_BITS = 1e-6  # tolerance as a part of the output's largest absolute value


def named_by_value(
    tensors: Mapping[Any, npt.NDArray[np.float32]], outputs: Mapping[str, npt.NDArray[np.float32]]
) -> dict[Any, list[str]]:
    """Find the tensors of a converted float model that hold a layer's output, with the names of all such layers.

    Converters rename tensors, so tensors are recognized by their values for one photo. A tensor and an output agree
    if they differ by at most ``SAME`` times the output's range. The channels may be the last axis or the second.
    """
    found = {}
    for tensor, values in tensors.items():
        layouts = [values, np.moveaxis(values, 1, -1)] if values.ndim == 4 else [values]
        names = [
            name
            for name, output in outputs.items()
            if output.size == values.size and any(_is_same(layout, output) for layout in layouts)
        ]
        if names:
            found[tensor] = names
    return found


def _is_same(values: npt.NDArray[np.float32], output: npt.NDArray[np.float32]) -> bool:
    difference = np.max(np.abs(np.reshape(values, -1) - np.reshape(output, -1)))
    # An output whose elements are all equal has no range, so its size gives the tolerance.
    return bool(difference <= max(SAME * np.ptp(output), _LAST_BITS * np.max(np.abs(output))))
