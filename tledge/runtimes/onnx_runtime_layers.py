"""This module reads the output of every layer in ONNX Runtime."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.runtimes.layer_graph import GraphOperator, Layer, layers
from tledge.runtimes.onnx_session import session
from tledge.runtimes.quantized_values import dequantize

_STANDARD_DOMAINS = ("", "ai.onnx")


class OnnxLayers:
    """This session is one inference session on a copy of the model, in memory, that returns the output of every layer.

    The quantized values of a quantized layer are read, behind its QuantizeLinear. With these as an output, ONNX Runtime
    still computes the layer in integers, as it does when deployed. The layer's real values exist only where it is
    simulated in float. All graph optimizations are on. A layer has the name of its operator.

    ``fed`` are layers, by their places, whose values the later layers get from the caller and not from the network.
    """

    layers: tuple[Layer, ...]
    is_float: tuple[bool, ...]

    def __init__(self, model: bytes, num_threads: int, fed: Sequence[int] = ()) -> None:
        import onnx

        parsed = onnx.load_model_from_string(model)
        graph = parsed.graph
        if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in graph.initializer):
            raise ValueError("keeps weights outside the file, and tledge reads one file and nothing beside it")
        self._input, output = _ends(graph)
        self.layers = layers(map(_operator, graph.node), self._input, output)
        self._read, self._quantization = _readings(self.layers, graph)
        self._fed = [_feed(graph, str(self.layers[place].tensor)) for place in fed]
        declared = {value.name for value in graph.output}
        graph.output.extend(
            onnx.ValueInfoProto(name=name) for name in dict.fromkeys(self._read) if name not in declared
        )

        self._session = session(parsed.SerializeToString(), num_threads)
        types = {value.name: value.type for value in self._session.get_outputs()}
        self.is_float = tuple(types[name] == "tensor(float)" for name in self._read)

    def run(
        self, pixels: npt.NDArray[np.uint8], fed: Sequence[npt.NDArray[np.float32]] = ()
    ) -> list[npt.NDArray[np.float32]]:
        """Return the output of every layer for one photo, uint8 RGB (1, S, S, 3).

        The outputs are dequantized, float32, in the order of ``layers``. ``fed`` holds the values of the fed layers.
        """
        values = self._session.run(self._read, {self._input: pixels, **dict(zip(self._fed, fed, strict=True))})
        return [
            np.asarray(value, np.float32) if quantization is None else dequantize(value, quantization)
            for value, quantization in zip(values, self._quantization, strict=True)
        ]


def _feed(graph: Any, tensor: str) -> str:
    """Let everything that reads a tensor read a new input of the network instead, and return the input's name."""
    from onnx import TensorProto, helper

    name = f"{tensor}/fed"
    graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    for node in graph.node:
        _rename_reads(node, tensor, name)
    return name


def _rename_reads(node: Any, old: str, new: str) -> None:
    node.input[:] = [new if name == old else name for name in node.input]
    for attribute in node.attribute:
        for child in attribute.g.node if attribute.HasField("g") else ():
            _rename_reads(child, old, new)


def _ends(graph: Any) -> tuple[str, str]:
    """Return the names of the network's one input and one output."""
    constants = {tensor.name for tensor in graph.initializer}
    (network_input,) = (value.name for value in graph.input if value.name not in constants)
    (network_output,) = (value.name for value in graph.output)
    return network_input, network_output


def _operator(node: Any) -> GraphOperator:
    kind = node.op_type if node.domain in _STANDARD_DOMAINS else f"{node.domain}.{node.op_type}"
    reads = tuple(name for name in _read_by(node) if name)
    return GraphOperator(node.name or node.output[0], kind, reads, tuple(name for name in node.output if name))


def _read_by(node: Any) -> Iterator[str]:
    """Yield every name that a node reads, also inside its branches."""
    yield from node.input
    for attribute in node.attribute:
        for child in attribute.g.node if attribute.HasField("g") else ():
            yield from _read_by(child)


def _readings(found: tuple[Layer, ...], graph: Any) -> tuple[list[str], list[tuple[float, int] | None]]:
    """Return the tensor to read for each layer, and the (scale, zero point) of its values.

    The pair is None for a layer whose tensor holds real values.
    """
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    readers = defaultdict(list)
    for node in graph.node:
        for name in _read_by(node):
            readers[name].append(node)
    tensors: list[str] = []
    quantizations: list[tuple[float, int] | None] = []
    for layer in found:
        tensor = str(layer.tensor)
        users = readers[tensor]
        if not users or any(node.op_type != "QuantizeLinear" for node in users):
            tensors.append(tensor)
            quantizations.append(None)
            continue
        quantizer = users[0]
        scale, *zero_point = (numpy_helper.to_array(constants[name]).item() for name in quantizer.input[1:])
        tensors.append(quantizer.output[0])
        quantizations.append((float(scale), int(zero_point[0]) if zero_point else 0))
    return tensors, quantizations
