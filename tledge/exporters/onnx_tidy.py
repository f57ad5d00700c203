"""What libraries leave in an ONNX file and no runtime needs: it takes room, and some runtimes refuse it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tledge.audit.onnx_graph import is_standard


def tidy(model: Any) -> None:
    """Take out of a model, which changes in place, what has no effect on any answer.

    Those are the shapes of tensors inside the graph, which ONNX Runtime's quantizer keeps from before it changed them; the
    zero points of 32-bit codes, which are zero anyway and which some WebGPU builds refuse; constants that nothing reads; and
    opsets of which no operator is used.
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
    """Of biases, whose codes are int32 and always stand around zero, which a DequantizeLinear takes for granted."""
    from onnx import TensorProto, numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type != "DequantizeLinear" or len(node.input) < 3 or not constants.keys() >= set(node.input):
            continue
        codes, _, zero_point = (constants[name] for name in node.input)
        if codes.data_type == TensorProto.INT32 and not np.any(numpy_helper.to_array(zero_point)):
            del node.input[2]


def _nodes(graph: Any) -> Iterator[Any]:
    """Every operator of a graph, and of the graphs inside its operators."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                yield from _nodes(inner)


def _domain(entry: Any) -> str:
    return "" if is_standard(entry) else str(entry.domain)


def _keep(field: Any, entries: list[Any]) -> None:
    """Let a repeated field hold these of its entries alone."""
    copies = [type(entry).FromString(entry.SerializeToString()) for entry in entries]
    del field[:]
    field.extend(copies)
