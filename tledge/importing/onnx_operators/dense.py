"""Products with a matrix of weights."""

from __future__ import annotations

import numpy as np

from tledge.backbones.described import Floats
from tledge.importing.onnx_values import Layers, Node, Value, plain


def gemm(node: Node, layers: Layers) -> Value:
    """Describe Gemm: alpha A B + beta C, where A are the photos' vectors."""
    value = node.value()
    if node.attributes.get("transA"):
        raise node.unknown("reads the photos along its second axis (transA)")
    kernel = node.weights(1)
    kernel = (kernel.T if node.attributes.get("transB") else kernel) * np.float32(node.attributes.get("alpha", 1.0))
    bias = node.constant(2)
    if bias is None:
        return _dense(node, layers, value, kernel)
    bias = np.asarray(bias, np.float32) * np.float32(node.attributes.get("beta", 1.0))
    if bias.ndim > 1 and any(size != 1 for size in bias.shape[:-1]):
        raise node.unknown("adds other numbers to each photo")
    return _dense(node, layers, value, kernel, np.broadcast_to(bias.reshape(-1), kernel.shape[-1:]))


def mat_mul(node: Node, layers: Layers) -> Value:
    """Describe MatMul with a constant matrix on the right."""
    return _dense(node, layers, node.value(), node.weights(1))


def _dense(node: Node, layers: Layers, value: Value, kernel: Floats, bias: Floats | None = None) -> Value:
    if kernel.ndim != 2 or value.shape[-1:] != kernel.shape[:1]:
        raise node.unknown(f"multiplies {list(value.shape)} numbers by a matrix of {list(kernel.shape)}")
    if len(value.shape) == 1:
        # The vector may be a map whose channels lie last: the matrix's rows are put into the same order.
        layer, rows = layers.flat(value, node)
        kernel = kernel[rows]
        value = plain(layer, value.shape)
    else:
        rank = len(value.shape)
        order = next(one for one in (value.order, tuple(range(rank))) if len(one) == rank and one[-1] == rank - 1)
        value = layers.in_order(value, order)
    weights = (kernel,) if bias is None else (kernel, bias)
    made = layers.add(node.name, "Dense", value.layer, weights, units=kernel.shape[1], use_bias=bias is not None)
    return plain(made, (*value.shape[:-1], kernel.shape[1]), value.order)


OPERATORS = {"Gemm": gemm, "MatMul": mat_mul}
