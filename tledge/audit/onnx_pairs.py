"""This module finds how far products of int8 weights of an ONNX graph reach where a CPU adds two in 16 bits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tledge.audit.onnx_graph import Graph, type_name
from tledge.audit.onnx_products import INTEGER_OPERATORS, PRODUCTS
from tledge.int8_pairs import largest_sums, onnx_rows


def largest_pair_sum(graphs: Iterable[Graph]) -> int | None:
    """Return the largest sum of two int8 weights of one sign that ONNX Runtime may multiply and add at once.

    All operators that compute in integers are looked at. None: no such operator has constant int8 weights.
    """
    sums = [found for graph in graphs for node in graph.proto.node if (found := _of_node(graph, node)) is not None]
    return max(sums, default=None)


def _of_node(graph: Graph, node: Any) -> int | None:
    from onnx import numpy_helper

    places = PRODUCTS.get(node.op_type)
    if places is None or node.op_type == "ConvTranspose" or len(node.input) <= places.weights:
        return None
    name = node.input[places.weights]
    source = graph.source(name)
    is_integer = node.op_type in INTEGER_OPERATORS or graph.is_dequantized(name)
    if source is None or not is_integer or type_name(graph.constants[source].data_type) != "INT8":
        return None
    weights = numpy_helper.to_array(graph.constants[source])
    settings = {part.name: part.i for part in node.attribute}
    is_convolution = "Conv" in node.op_type
    if weights.ndim < (3 if is_convolution else 2) or not weights.size:
        return None
    rows = onnx_rows(
        node.op_type,
        weights.astype(np.float64),
        settings.get("group", 1),
        is_transposed=node.op_type == "Gemm" and bool(settings.get("transB")),
    )
    return None if rows is None else int(largest_sums(rows).max())
