"""Read an ONNX model: operators by the arithmetic that their quantize/dequantize neighbours allow.

In QDQ form every operator is written in float between DequantizeLinear and QuantizeLinear, and a
runtime runs it in integers only where all its data comes from the one and goes to the other, and where it
has an integer kernel. That is what is checked here: an operator with one bare float edge counts as float,
and so does one without such a kernel, whatever stands around it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from tledge.errors import ArtifactError
from tledge.exporters.audit import counted
from tledge.records import Audit, TensorRecord

_STANDARD_DOMAINS = ("", "ai.onnx")
_INTEGER_OPERATORS = frozenset({"QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"})
_DYNAMIC = frozenset({"DynamicQuantizeLinear"})
# ONNX Runtime's CPU provider turns these, between DequantizeLinear and QuantizeLinear, into operators on codes.
# Read from the graphs it optimises; it leaves Sub, Div, Pad, ReduceMean, HardSwish and all others in float.
INTEGER_KERNELS = frozenset(
    {"Conv", "Gemm", "MatMul", "Add", "Mul", "Concat", "AveragePool", "GlobalAveragePool", "MaxPool", "LeakyRelu"}
    | {"Relu", "Clip", "Sigmoid", "Softmax"}
)
LAYOUT = frozenset(
    {"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Gather", "Slice", "Split", "Tile"}
    | {"Expand", "DepthToSpace"}
)


def audit_onnx(data: bytes) -> Audit:
    """The audit of a model's bytes. Raises ArtifactError for weights outside the file, or undecodable bytes."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise ArtifactError(f"not an ONNX model: {error}") from error
    graph = model.graph
    if not graph.node:
        raise ArtifactError("not an ONNX model: it has no operators")
    graphs = list(_with_branches(graph))
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for part in graphs for tensor in _tensors(part)):
        raise ArtifactError("keeps weights outside the file; tledge reads one file and nothing beside it")
    weight_types: Counter[str] = Counter()
    for tensor in (tensor for part in graphs for tensor in _tensors(part)):
        weight_types[_type_name(tensor.data_type)] += len(onnx.numpy_helper.to_array(tensor).tobytes())
    constants = {tensor.name: tensor for tensor in graph.initializer}
    return Audit(
        operators=counted(
            operator
            for part in graphs
            for operator in _operators(part, {tensor.name: tensor for tensor in part.initializer})
        ),
        weight_types=dict(sorted(weight_types.items())),
        inputs=[_tensor(value, graph, constants) for value in graph.input if value.name not in constants],
        outputs=[_tensor(value, graph, constants) for value in graph.output],
    )


def _with_branches(graph: Any) -> Iterator[Any]:
    """The graph, and the graphs inside its operators (the branches of an If, the body of a Loop)."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                yield from _with_branches(inner)


def _tensors(graph: Any) -> Iterator[Any]:
    """Every constant of one graph: its initializers, and the tensors that its operators hold."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from ([attribute.t] if attribute.HasField("t") else []) + list(attribute.tensors)


def _type_name(number: int) -> str:
    import onnx

    name = str(onnx.TensorProto.DataType.Name(number))
    return {"FLOAT": "FLOAT32", "DOUBLE": "FLOAT64"}.get(name, name)


def _operators(graph: Any, constants: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    producer = {name: node for node in graph.node for name in node.output}
    consumers: dict[str, list[Any]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            consumers[name].append(node)
    outputs = {value.name for value in graph.output}

    def is_dequantized(name: str) -> bool:
        return name in producer and producer[name].op_type == "DequantizeLinear"

    def is_quantized(name: str) -> bool:
        return name not in outputs and all(node.op_type == "QuantizeLinear" for node in consumers[name])

    for node in graph.node:
        if node.domain not in _STANDARD_DOMAINS:
            yield f"{node.domain}.{node.op_type}", "custom", "custom"
        elif node.op_type in ("QuantizeLinear", "DequantizeLinear", "Cast"):
            yield node.op_type, "boundary", "conversion"
        elif node.op_type in _DYNAMIC:
            yield node.op_type, "hybrid", "float32 to uint8"
        elif node.op_type in _INTEGER_OPERATORS:
            yield node.op_type, "integer", "int8"
        else:
            read = [name for name in node.input if name]
            # Axes, shapes and bounds are parameters; a float weight that is not dequantized is data.
            data = [name for name in read if not _is_parameter(name, constants, node)]
            whole = all(is_dequantized(name) for name in data) and all(is_quantized(name) for name in node.output)
            if whole and node.op_type in LAYOUT | INTEGER_KERNELS:
                yield node.op_type, "layout" if node.op_type in LAYOUT else "integer", "int8 (dequantize, quantize)"
            elif any(is_dequantized(name) and producer[name].input[0] in constants for name in data):
                yield node.op_type, "hybrid", "float32 with int8"
            else:
                yield node.op_type, "float", "float32"


def _is_parameter(name: str, constants: dict[str, Any], node: Any) -> bool:
    import onnx

    if name not in constants:
        return False
    floating = constants[name].data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)
    return not floating or node.op_type == "Clip"


def _tensor(value: Any, graph: Any, constants: dict[str, Any]) -> TensorRecord:
    from onnx import numpy_helper

    scale: float | None = None
    zero_point: int | None = None
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] == value.name:
            scale = float(numpy_helper.to_array(constants[node.input[1]]))
            zero_point = int(numpy_helper.to_array(constants[node.input[2]])) if len(node.input) > 2 else 0
    tensor_type = value.type.tensor_type
    return TensorRecord(
        name=value.name,
        shape=[dim.dim_value for dim in tensor_type.shape.dim],
        data_type=_type_name(tensor_type.elem_type),
        scale=scale,
        zero_point=zero_point,
    )
