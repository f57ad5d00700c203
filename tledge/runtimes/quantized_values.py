"""Real values of quantized ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def dequantize(values: npt.NDArray[Any], quantization: tuple[float, int]) -> npt.NDArray[np.float32]:
    """Return scale * (value - zero_point) of quantized values; floats pass through.

    Jacob et al., 2018 (arXiv:1712.05877), equation 1. Values are widened first: in 8 bits the difference wraps.
    """
    if np.issubdtype(values.dtype, np.floating):
        return values.astype(np.float32)
    scale, zero_point = quantization
    return (np.float32(scale) * (values.astype(np.int32) - zero_point)).astype(np.float32)
