"""This module reads an ONNX file as graphs, and checks them: sizes fit the data, names exist, and the order can run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tledge.audit.macs import elements
from tledge.errors import ArtifactError

_STANDARD_DOMAINS = ("", "ai.onnx")
_TYPED_FIELDS = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")

MAX_GRAPHS = 200  # The graphs of branches and loop bodies count, too. An image classifier has none of these.


@dataclass
class Graph:
    """A graph with its look-ups. ``inherited`` holds the constants of the graphs around it."""

    proto: Any
    inherited: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def constants(self) -> dict[str, Any]:
        """Return the constants (TensorProto) by name: initializers, values of sparse ones, and Constant operators."""
        found = dict(self.inherited)
        found.update({tensor.name: tensor for tensor in self.proto.initializer})
        found.update({sparse.values.name: sparse.values for sparse in self.proto.sparse_initializer})
        for node in self.proto.node:
            if node.op_type == "Constant" and is_standard(node) and node.output:
                held = [attribute.t for attribute in node.attribute if attribute.HasField("t")]
                if held:
                    found[node.output[0]] = held[0]
        return found

    @cached_property
    def producer(self) -> dict[str, Any]:
        """Return the node that writes each name."""
        return {name: node for node in self.proto.node for name in node.output if name}

    @cached_property
    def consumers(self) -> dict[str, list[Any]]:
        """Return the nodes that read each name."""
        found: dict[str, list[Any]] = defaultdict(list)
        for node in self.proto.node:
            for name in set(node.input):
                found[name].append(node)
        return found

    @cached_property
    def outputs(self) -> set[str]:
        """Return the names that leave the graph."""
        return {value.name for value in self.proto.output}

    @cached_property
    def quantized(self) -> set[str]:
        """Return the names that only QuantizeLinear operators read."""
        return {
            name
            for name in self.producer
            if name not in self.outputs and all(node.op_type == "QuantizeLinear" for node in self.consumers[name])
        }

    def is_dequantized(self, name: str) -> bool:
        """Tell whether a DequantizeLinear writes this name."""
        return name in self.producer and self.producer[name].op_type == "DequantizeLinear"

    def source(self, name: str) -> str | None:
        """Return the name of the constant that a name is, or unpacks by DequantizeLinear or Cast.

        None stands for a name that is computed.
        """
        node = self.producer.get(name)
        if name not in self.constants and node is not None and node.op_type in ("DequantizeLinear", "Cast"):
            name = node.input[0]
        return name if name in self.constants else None


def is_standard(entry: Any) -> bool:
    """Tell whether an operator, or an opset, is one of ONNX's own."""
    return entry.domain in _STANDARD_DOMAINS


def type_name(number: int) -> str:
    """Return ONNX's name of a data type, with its width: FLOAT32, not FLOAT."""
    import onnx

    name = str(onnx.TensorProto.DataType.Name(number))
    return {"FLOAT": "FLOAT32", "DOUBLE": "FLOAT64"}.get(name, name)


def parse_onnx(data: bytes) -> Any:
    """Parse bytes into a ModelProto.

    Raises ArtifactError for bytes that are no ONNX model, and for a model that defines operators of its own.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise ArtifactError(f"not an ONNX model: {error}") from error
    if not model.graph.node:
        raise ArtifactError("not an ONNX model: it has no operators")
    if model.functions:
        raise ArtifactError(
            "defines operators of its own as functions, and tledge reads files whose operators are ONNX's"
        )
    return model


def checked_graphs(model: Any) -> list[Graph]:
    """Return the main graph, then the graphs inside its operators (the branches of an If, the body of a Loop).

    Raises ArtifactError for weights outside the file, a constant whose data is not of its size, a name that nothing
    writes before it is read (so, for a cycle), a name that is written twice, and more than 200 graphs.
    """
    graphs = []
    for found in _checked(model.graph, {}, frozenset()):
        graphs.append(found)
        # Each holds what it may read of the graphs around it: many of them in a large graph would take all memory.
        if len(graphs) > MAX_GRAPHS:
            raise ArtifactError(f"has over {MAX_GRAPHS} graphs inside each other or its operators")
    for graph in graphs:
        for tensor in tensors(graph.proto):
            num_bytes(tensor)
    return graphs


def _checked(proto: Any, inherited: dict[str, Any], outer: frozenset[str]) -> Iterator[Graph]:
    graph = Graph(proto, inherited)
    yield graph
    known = {value.name for value in proto.input} | graph.constants.keys() - {
        name for node in proto.node if node.op_type == "Constant" for name in node.output
    }
    written: set[str] = set()
    for node in proto.node:
        for name in node.input:
            if name and name not in known and name not in outer:
                raise ArtifactError(f"{node.op_type} {node.name!r} reads {name!r}, which nothing before it writes")
        for attribute in node.attribute:
            for inner in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                yield from _checked(inner, graph.constants, outer | known)
        for name in node.output:
            if name and (name in known or name in written):
                raise ArtifactError(f"{node.op_type} {node.name!r} writes {name!r}, which has its content already")
            written.add(name)
            known.add(name)
    for value in proto.output:
        if value.name not in known and value.name not in outer:
            raise ArtifactError(f"output {value.name!r} is written by nothing")


def tensors(proto: Any) -> Iterator[Any]:
    """Iterate over the constants of one graph: its initializers, and the tensors that its operators hold."""
    yield from proto.initializer
    for sparse in proto.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in proto.node:
        for attribute in node.attribute:
            yield from ([attribute.t] if attribute.HasField("t") else []) + list(attribute.tensors)
            if attribute.HasField("sparse_tensor"):
                yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)


def num_bytes(tensor: Any) -> int:
    """Count the bytes that a constant takes when packed.

    Raises ArtifactError where its data is not of its size, or is outside the file.
    """
    import onnx

    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise ArtifactError("keeps weights outside the file, and tledge reads one file and nothing beside it")
    count = elements(tensor.dims, tensor.name)
    if tensor.data_type == onnx.TensorProto.STRING:
        return sum(len(text) for text in tensor.string_data)
    bits = _bits(tensor.data_type)
    expected = -(-count * bits // 8)
    if tensor.HasField("raw_data"):
        if len(tensor.raw_data) != expected:
            raise ArtifactError(
                f"tensor {tensor.name!r} of {list(tensor.dims)} {type_name(tensor.data_type).lower()} needs "
                f"{expected:,} bytes and has {len(tensor.raw_data):,}"
            )
        return expected
    held = sum(len(getattr(tensor, name)) for name in _TYPED_FIELDS)
    # Elements below a byte are packed into one entry; a complex number takes two.
    if held not in (count, 2 * count, -(-count * bits // 8)):
        raise ArtifactError(f"tensor {tensor.name!r} of {list(tensor.dims)} needs {count:,} numbers and has {held:,}")
    return expected


def _bits(data_type: int) -> int:
    name = type_name(data_type)
    if name.endswith(("INT4", "FLOAT4E2M1")):
        return 4
    if name.endswith("INT2"):
        return 2
    import onnx

    return int(onnx.helper.tensor_dtype_to_np_dtype(data_type).itemsize) * 8
