"""This module extracts the values that a layer multiplies by its weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.tensorflow_setup import tensorflow

Floats = npt.NDArray[np.float32]


def of_vectors(layer: Any, values: Any, num_groups: int, step: int) -> Floats:
    """Return the inputs of a dense layer: ``values`` (..., inputs) as float32 (positions, 1, inputs)."""
    return np.reshape(np.asarray(values), (-1, 1, values.shape[-1]))


def of_convolution(layer: Any, values: Any, num_groups: int, step: int) -> Floats:
    """Return the input patches that a convolution reads, at every ``step``-th output position in each direction.

    ``values`` are maps (N, rows, columns, channels). The result is float32 (positions, groups, inputs of a group).
    """
    tf = tensorflow()
    channels, kernel, strides = values.shape[-1], layer.kernel_size, [step * stride for stride in layer.strides]
    if max(kernel) == 1:
        values = values[:, :: strides[0], :: strides[1]]
    else:
        if layer.padding == "same":  # pad for the layer's own strides: wider ones would pad otherwise
            reach = [rate * (size - 1) for rate, size in zip(layer.dilation_rate, kernel, strict=True)]
            sides = zip(values.shape[1:3], layer.output_shape[1:3], layer.strides, reach, strict=True)
            around = [max(0, (made - 1) * stride + 1 + more - size) for size, made, stride, more in sides]
            values = tf.pad(values, [[0, 0], *((all_of // 2, all_of - all_of // 2) for all_of in around), [0, 0]])
        values = tf.image.extract_patches(
            values, [1, *kernel, 1], [1, *strides, 1], [1, *layer.dilation_rate, 1], "VALID"
        )
    if num_groups == 1:
        return np.reshape(np.asarray(values), (-1, 1, values.shape[-1]))
    # A group's positions lie next to each other in memory, because they are summed; numpy would take eight times as long.
    area, width = int(np.prod(kernel)), channels // num_groups
    rows = tf.transpose(tf.reshape(values, (-1, area, num_groups, width)), (2, 0, 1, 3))
    return np.moveaxis(np.reshape(np.asarray(rows), (num_groups, -1, area * width)), 0, 1)
