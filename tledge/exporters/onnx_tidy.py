"""This module removes what libraries leave in an ONNX file and no runtime needs.

Such parts take room, and some runtimes refuse them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tledge.audit.onnx_graph import is_standard


def tidy(model: Any) -> None:
    """Remove from a model, in place, all that has no effect on any answer.

    - The shapes of tensors inside the graph, which ONNX Runtime's quantizer keeps from before it changed them.
    - The zero points of int32 values, which are zero anyway and which some WebGPU builds refuse.
    - The constants that no operator reads.
    - The opsets of which no operator is used.
    """
    graph = model.graph
    graph.ClearField("value_info")
    _drop_zero_points(graph)
    nodes = list(_nodes(graph))
    read = {name for node in nodes for name in node.input} | {value.name for value in graph.output}
    _keep(graph.initializer, [tensor for tensor in graph.initializer if tensor.name in read])
    domains = {_domain(node) for node in nodes}
    _keep(model.opset_import, [entry for entry in model.opset_import if _domain(entry) in domains])


def _drop_zero_points(graph: Any) -> None:
    """Remove the zero points of int32 constants, such as biases, where they are zero.

    A DequantizeLinear without a zero point takes zero.
    """
    from onnx import TensorProto, numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type != "DequantizeLinear" or len(node.input) < 3 or not constants.keys() >= set(node.input):
            continue
        codes, _, zero_point = (constants[name] for name in node.input)
        if codes.data_type == TensorProto.INT32 and not np.any(numpy_helper.to_array(zero_point)):
            del node.input[2]


def _nodes(graph: Any) -> Iterator[Any]:
    """Yield every operator of a graph, and of the graphs inside its operators."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                yield from _nodes(inner)


def _domain(entry: Any) -> str:
    return "" if is_standard(entry) else str(entry.domain)


def _keep(field: Any, entries: list[Any]) -> None:
    """Reduce a repeated field of protobuf to ``entries``, which are some of its own."""
    copies = [type(entry).FromString(entry.SerializeToString()) for entry in entries]
    del field[:]
    field.extend(copies)
