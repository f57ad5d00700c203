"""This module audits an ONNX model: it finds the arithmetic of every operator from the operators around it.

In QDQ form every operator is written in float between DequantizeLinear and QuantizeLinear. A runtime runs it in
integers only where all its data comes from the one and goes to the other, and where it has an integer kernel.
So an operator with one bare float edge counts as float here. An operator without an integer kernel counts as
float, too, whatever stands around it.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from tledge.audit.findings import FREE, Interface, count_operators, largest, printable
from tledge.audit.macs import elements, totals
from tledge.audit.onnx_graph import Graph, checked_graphs, is_standard, num_bytes, parse_onnx, tensors, type_name
from tledge.audit.onnx_pairs import largest_pair_sum
from tledge.audit.onnx_products import INTEGER_OPERATORS, PRODUCTS, products_of
from tledge.audit.shapes import inferred_shapes
from tledge.errors import ArtifactError
from tledge.records import Audit, TensorRecord

METADATA_KEY = "tledge"
_KINDS = {
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear", "Cast"), ("boundary", "conversion")),
    **dict.fromkeys(INTEGER_OPERATORS, ("integer", "int8")),
    "DynamicQuantizeLinear": ("hybrid", "float32 to uint8"),
}
# Between DequantizeLinear and QuantizeLinear, ONNX Runtime's CPU provider turns these into operators on integers.
# The list was read from the graphs that it optimises. Sub, Div, Pad, ReduceMean, HardSwish and others stay in float.
INTEGER_KERNELS = frozenset(
    {"Conv", "Gemm", "MatMul", "Add", "Mul", "Concat", "AveragePool", "GlobalAveragePool", "MaxPool", "LeakyRelu"}
    | {"Relu", "Clip", "Sigmoid", "Softmax"}
)
LAYOUT = frozenset(
    {"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Gather", "Slice", "Split", "Tile"}
    | {"Expand", "DepthToSpace"}
)


# These inputs are settings of an operator. They are floats, but no weights.
_SETTINGS = {"Clip": (1, 2), "Pad": (2,), "Resize": (1, 2), "QuantizeLinear": (1, 2), "DequantizeLinear": (1, 2)}
_SCALES = {"QuantizeLinear": (1,), "DequantizeLinear": (1,), "QLinearConv": (1, 4, 6), "QLinearMatMul": (1, 4, 6)}


def audit_onnx(data: bytes) -> Audit:
    """Audit the bytes of an ONNX model.

    Raises ArtifactError for bytes that can't be decoded, and for a model that can't run.
    """
    model = parse_onnx(data)
    graphs = checked_graphs(model)
    versions = _versions(model, graphs)
    weight_types: Counter[str] = Counter()
    for graph in graphs:
        for tensor in tensors(graph.proto):
            weight_types[type_name(tensor.data_type)] += num_bytes(tensor)
    classified = [[(node, *_classified(graph, node)) for node in graph.proto.node] for graph in graphs]
    found = count_operators(
        (printable(name), kind, data_type) for nodes in classified for _, name, kind, data_type in nodes
    )
    multiplying = any(node.op_type in PRODUCTS for graph in graphs for node in graph.proto.node)
    shapes = inferred_shapes(data) if multiplying else {}
    products = [
        product
        for number, (graph, nodes) in enumerate(zip(graphs, classified, strict=True))
        for node, _, kind, _ in nodes
        # How often a branch or a loop's body runs is not in the file.
        for product in products_of(graph, node, kind, shapes if number == 0 else None)
    ]
    num_macs, integer_share, granularities = totals(products)
    shared = _interface(model, graphs[0])
    return Audit(
        operators=found,
        weight_types=dict(sorted(weight_types.items())),
        inputs=shared.inputs,
        outputs=shared.outputs,
        file_versions=versions,
        num_parameters=sum(_num_parameters(graph) for graph in graphs),
        num_macs=num_macs,
        integer_mac_share=integer_share,
        weight_granularity=granularities,
        float_constants=largest(_float_constants(graphs)),
        largest_pair_sum=largest_pair_sum(graphs),
    )


def interface_onnx(data: bytes) -> Interface:
    """Read the inputs, the outputs and tledge's own metadata of an ONNX model. Raises as ``audit_onnx`` does."""
    model = parse_onnx(data)
    return _interface(model, checked_graphs(model)[0])


def _interface(model: Any, graph: Graph) -> Interface:
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    text = metadata.get(METADATA_KEY)
    return Interface(
        inputs=[_record(value, graph) for value in graph.proto.input if value.name not in graph.constants],
        outputs=[_record(value, graph) for value in graph.proto.output],
        metadata=None if text is None else text.encode(),
    )


def _versions(model: Any, graphs: list[Graph]) -> dict[str, int]:
    """Return the IR version of a model, and the opset version of every domain that it uses.

    Raises ArtifactError where the opset of a used domain is not declared.
    """
    declared = {"" if is_standard(entry) else entry.domain: entry.version for entry in model.opset_import}
    versions = {"ir": int(model.ir_version)}
    for domain in sorted({"" if is_standard(node) else node.domain for graph in graphs for node in graph.proto.node}):
        if domain not in declared:
            raise ArtifactError(f"uses operators of {domain or 'ONNX'!r} and does not say of which opset")
        versions[f"opset {printable(domain)}".strip()] = int(declared[domain])
    return versions


def _classified(graph: Graph, node: Any) -> tuple[str, str, str]:
    """Return the name, the kind and the data type of an operator."""
    if not is_standard(node):
        return f"{node.domain}.{node.op_type}", "custom", "custom"
    if node.op_type == "Constant":
        held = [type_name(tensor.data_type) for tensor in (graph.constants.get(name) for name in node.output) if tensor]
        return node.op_type, "layout", "+".join(held).lower() or "constant"
    known = _KINDS.get(node.op_type)
    return node.op_type, *(known or _kind_by_neighbours(graph, node))


def _kind_by_neighbours(graph: Graph, node: Any) -> tuple[str, str]:
    # Axes, shapes and bounds are settings. A float weight that is not dequantized is data.
    data = [name for place, name in enumerate(node.input) if name and not _is_setting(graph, node, place)]
    whole = all(graph.is_dequantized(name) for name in data) and all(name in graph.quantized for name in node.output)
    if whole and node.op_type in LAYOUT | INTEGER_KERNELS:
        return "layout" if node.op_type in LAYOUT else "integer", "int8 (dequantize, quantize)"
    if any(graph.is_dequantized(name) and graph.producer[name].input[0] in graph.constants for name in data):
        return "hybrid", "float32 with int8"
    return "float", "float32"


def _is_setting(graph: Graph, node: Any, place: int) -> bool:
    constant = graph.constants.get(node.input[place])
    return constant is not None and (not _is_float(constant) or (node.op_type == "Clip" and place in _SETTINGS["Clip"]))


def _is_float(tensor: Any) -> bool:
    return "FLOAT" in type_name(tensor.data_type)


def _float_constants(graphs: list[Graph]) -> dict[str, int]:
    """Count the bytes of each float constant that is neither a scale of a quantization nor a bound of a Clip.

    A scale is one number, or one for each channel, and nothing else reads it. A larger one, as in blocked
    quantization, can hold whole weights, so it is counted.
    """
    settings: set[str] = set()
    values: set[str] = set()
    for graph in graphs:
        for node in graph.proto.node:
            places = _SETTINGS["Clip"] if node.op_type == "Clip" else _SCALES.get(node.op_type, ())
            for place, name in enumerate(node.input):
                constant = graph.constants.get(name)
                rank = 0 if node.op_type == "Clip" else 1
                fits = constant is not None and place in places and len(constant.dims) <= rank
                (settings if fits and is_standard(node) else values).add(name)
    found: Counter[str] = Counter()
    for graph in graphs:
        named = {id(tensor): name for name, tensor in graph.constants.items()}
        for tensor in tensors(graph.proto):
            name = named.get(id(tensor), tensor.name)
            if _is_float(tensor) and num_bytes(tensor) and (name in values or name not in settings):
                found[printable(name) or "unnamed"] += num_bytes(tensor)
    return found


def _num_parameters(graph: Graph) -> int:
    """Count the elements of the weights and biases of a graph.

    Weights and biases are those of multiplying operators, and every other float or quantized constant of more than
    one element. A lone number is a factor of the graph, such as the 1/255 of the pixels, and no parameter.

    A weight counts once, however many operators read it. A bias counts once for each operator: converters store
    equal biases, such as zeros, as one tensor, and quantization separates them again.
    """
    parameters: set[tuple[str, int | None]] = set()
    for index, node in enumerate(graph.proto.node):
        if node.op_type in ("QuantizeLinear", "DequantizeLinear", "Cast"):
            continue  # their constants count where they are used
        places = PRODUCTS.get(node.op_type)
        ignored = {**_SETTINGS, **_SCALES}.get(node.op_type, ())
        for place, name in enumerate(node.input):
            source = graph.source(name) if name and place not in ignored else None
            if source is None:
                continue
            count = elements(graph.constants[source].dims, source)
            multiplies = places is not None and place in (places.data, places.weights, places.bias)
            holds_values = _is_float(graph.constants[source]) or graph.is_dequantized(name)
            if multiplies or (holds_values and count > 1):
                is_bias = places is not None and place == places.bias
                parameters.add((source, index if is_bias else None))
    return sum(elements(graph.constants[name].dims, name) for name, _ in parameters)


def _record(value: Any, graph: Graph) -> TensorRecord:
    kind = value.type.tensor_type
    scale, zero_point = _quantization(value.name, graph)
    return TensorRecord(
        name=printable(value.name),
        shape=[dim.dim_value if dim.HasField("dim_value") else FREE for dim in kind.shape.dim],
        data_type=type_name(kind.elem_type),
        scale=scale,
        zero_point=zero_point,
    )


def _quantization(name: str, graph: Graph) -> tuple[float | None, int | None]:
    """Return the scale and the zero point of the quantized values that enter or leave the graph under a name.

    Both are None where the values are not quantized, or where there is more than one pair.
    """
    from onnx import numpy_helper

    nodes = [node for node in graph.consumers[name] if node.op_type == "DequantizeLinear" and node.input[0] == name]
    if name in graph.producer and graph.producer[name].op_type == "QuantizeLinear":
        nodes.append(graph.producer[name])
    pairs = set()
    for node in nodes:
        scale = graph.constants.get(node.input[1]) if len(node.input) > 1 else None
        if scale is None or elements(scale.dims, scale.name) != 1:
            return None, None
        zero_point = 0
        if len(node.input) > 2 and node.input[2]:
            constant = graph.constants.get(node.input[2])
            if constant is None or elements(constant.dims, constant.name) != 1:
                return None, None
            zero_point = int(numpy_helper.to_array(constant).item())
        pairs.add((float(numpy_helper.to_array(scale).item()), zero_point))
    return pairs.pop() if len(pairs) == 1 else (None, None)
