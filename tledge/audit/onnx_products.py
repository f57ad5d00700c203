"""This module describes the multiplying operators of an ONNX graph: products, arithmetic and scales of weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tledge.audit.macs import Granularity, Product, elements, granularity
from tledge.audit.onnx_graph import Graph
from tledge.errors import ArtifactError

INTEGER_OPERATORS = frozenset({"QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"})


@dataclass(frozen=True)
class _Places:
    """These numbers say which inputs of a multiplying operator are data, weights, bias and scale of the weights.
    ``bias`` is None where there is no bias. ``scale`` is None where it is elsewhere.
    """

    data: int
    weights: int
    bias: int | None
    scale: int | None = None


_CONVOLUTIONS = {
    "Conv": _Places(0, 1, 2),
    "ConvTranspose": _Places(0, 1, 2),
    "ConvInteger": _Places(0, 1, None),
    "QLinearConv": _Places(0, 3, 8, scale=4),
}
_MATRIX_PRODUCTS = {
    "Gemm": _Places(0, 1, 2),
    "MatMul": _Places(0, 1, None),
    "MatMulInteger": _Places(0, 1, None),
    "QLinearMatMul": _Places(0, 3, None, scale=4),
}
PRODUCTS = {**_CONVOLUTIONS, **_MATRIX_PRODUCTS}
# These multiply too, by rules of their own. With one of these, or one that is not ONNX's, the sum is unknown.
_UNCOUNTED = frozenset({"RNN", "GRU", "LSTM", "Einsum", "DeformConv", "Attention", "DFT", "STFT"})


def products_of(graph: Graph, node: Any, kind: str, shapes: dict[str, tuple[int, ...]] | None) -> Iterator[Product]:
    """Yield the product of a node, or nothing for a node that does not multiply.

    ``shapes`` are those of the graph's tensors, or None where it is not known how often the node runs.
    """
    if kind == "custom" or node.op_type in _UNCOUNTED:
        yield Product(None, is_integer=False, granularity=None)
    elif node.op_type in PRODUCTS:
        macs = None if shapes is None else _macs(graph, node, shapes)
        yield Product(macs, kind == "integer", _granularity(graph, node))


def _shape(graph: Graph, shapes: dict[str, tuple[int, ...]], name: str) -> tuple[int, ...] | None:
    shape = tuple(graph.constants[name].dims) if name in graph.constants else shapes.get(name)
    if shape is not None:
        elements(shape, name)
    return shape


def _macs(graph: Graph, node: Any, shapes: dict[str, tuple[int, ...]]) -> int | None:
    """Count the multiply-accumulates of one run of a node. None: a shape is known only when it runs."""
    places = PRODUCTS[node.op_type]
    if len(node.input) <= max(places.data, places.weights) or not node.output:
        raise ArtifactError(f"{node.op_type} {node.name!r} lacks an input or output that it can't do without")
    data, weights, result = (
        _shape(graph, shapes, name) for name in (node.input[places.data], node.input[places.weights], node.output[0])
    )
    if node.op_type in _CONVOLUTIONS and weights is not None and len(weights) < 3:
        raise ArtifactError(f"{node.op_type} {node.name!r} has weights of shape {list(weights)}")
    if data is None or weights is None or result is None:
        return None
    if node.op_type in _CONVOLUTIONS:
        # Weights are (O, I / groups, ...), of ConvTranspose (I, O / groups, ...), whose every input meets a whole kernel.
        return math.prod(data if node.op_type == "ConvTranspose" else result) * math.prod(weights[1:])
    if not data:
        raise ArtifactError(f"{node.op_type} {node.name!r} multiplies a single number")
    return math.prod(result) * data[0 if _attribute(node, "transA") and len(data) > 1 else -1]


def _attribute(node: Any, name: str) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == name), 0)


def _granularity(graph: Graph, node: Any) -> Granularity | None:
    """Tell how the weights of a multiplying operator are quantized. None: they are no quantized constants."""
    places = PRODUCTS[node.op_type]
    name = node.input[places.weights]
    source = graph.source(name)
    if source is None or not (graph.is_dequantized(name) or node.op_type in INTEGER_OPERATORS):
        return None
    dims = graph.constants[source].dims
    if places.scale is not None:
        scale = node.input[places.scale] if len(node.input) > places.scale else ""
    elif graph.is_dequantized(name):
        scale = graph.producer[name].input[1] if len(graph.producer[name].input) > 1 else ""
    else:
        # ConvInteger and MatMulInteger are scaled by a later operator. They have one zero point for each scale.
        scale = node.input[3] if len(node.input) > 3 else ""
    num_scales = elements(graph.constants[scale].dims, scale) if scale in graph.constants else 1
    transposed = node.op_type == "ConvTranspose" or (node.op_type == "Gemm" and not _attribute(node, "transB"))
    axis = 1 if transposed else -1 if node.op_type in _MATRIX_PRODUCTS and node.op_type != "Gemm" else 0
    return granularity(num_scales, dims[axis] if len(dims) > 1 else 1)
