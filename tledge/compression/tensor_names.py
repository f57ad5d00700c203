"""Which tensor of a converted model holds the output of which layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

SAME = 1e-4  # of an output's range: other sums of the same float numbers
_LAST_BITS = 1e-6  # of its largest number


def named_by_value(
    tensors: Mapping[Any, npt.NDArray[np.float32]], outputs: Mapping[str, npt.NDArray[np.float32]]
) -> dict[Any, list[str]]:
    """Of the tensors of a converted float model, those that hold a layer's output, and the names of all such layers.

    Converters give names of their own, and the values of one photo tell more than any name: they agree to ``SAME`` of
    the output's range, with the channels as the last axis or as the second.
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
    # The last bits of a sum are of its size, which is all that there is where every element is the same.
    return bool(difference <= max(SAME * np.ptp(output), _LAST_BITS * np.max(np.abs(output))))
