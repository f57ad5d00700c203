"""This module limits int8 weights of an ONNX graph so that ONNX Runtime's sums of two products fit into 16 bits.

On x86-64 CPUs without VNNI, ONNX Runtime adds the products of two neighbouring weights in 16 bits.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from tledge.compression import LARGEST_CODE
from tledge.int8_pairs import onnx_rows, rounded, scales

Overrides = dict[str, list[dict[str, Any]]]


def bound_pairs(graph: Any, float_nodes: Collection[str]) -> Overrides:
    """Round the weights of convolutions and matrix products, in place, so that the products of a pair fit into 16 bits.

    The rounded weights are int8 values times a scale. Weights that already meet the limit do not change.

    Args:
        graph: A float32 ONNX model.
        float_nodes: The names of the nodes that stay float. Their weights are left out.

    Returns:
        The scales of the output channels by the name of the constant, as ONNX Runtime's quantizer takes them
        (``TensorQuantOverrides``). Without them it would derive other scales from the largest weight of a channel.
    """
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in graph.graph.initializer}
    overrides: Overrides = {}
    for node in graph.graph.node:
        tensor = constants.get(node.input[1]) if node.op_type in ("Conv", "MatMul", "Gemm") else None
        if tensor is None or len(tensor.dims) < 2 or node.name in float_nodes:
            continue
        settings = {part.name: part.i for part in node.attribute}
        is_transposed = bool(settings.get("transB"))
        weights = numpy_helper.to_array(tensor).astype(np.float64)
        places = onnx_rows(
            node.op_type,
            np.arange(weights.size).reshape(weights.shape),
            settings.get("group", 1),
            is_transposed=is_transposed,
        )
        if places is None or tensor.name in overrides or (node.op_type != "Conv" and weights.ndim != 2):
            continue
        rows = weights.ravel()[places]
        scale = scales(rows, LARGEST_CODE)
        scale[scale == 0] = 1.0  # the quantizer's own choice for a channel of zeros
        weights.flat[places] = rounded(rows / scale) * scale
        tensor.CopyFrom(numpy_helper.from_array(weights.astype(np.float32), tensor.name))
        axis = 0 if node.op_type == "Conv" or is_transposed else 1
        overrides[tensor.name] = [{"axis": axis, "scale": np.float32(one), "zero_point": np.int8(0)} for one in scale]
    return overrides
