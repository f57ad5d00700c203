"""This module turns quantized values into real ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def dequantize(values: npt.NDArray[Any], quantization: tuple[float, int]) -> npt.NDArray[np.float32]:
    """Return the real values, scale * (value - zero_point), of quantized values. Floats pass through.

    ``quantization`` is (scale, zero point). The formula is equation 1 of Jacob et al., 2018 (arXiv:1712.05877). Values
    are widened first, as in 8 bits the difference would wrap.
    """
    if np.issubdtype(values.dtype, np.floating):
        return values.astype(np.float32)
    scale, zero_point = quantization
    return (np.float32(scale) * (values.astype(np.int32) - zero_point)).astype(np.float32)
