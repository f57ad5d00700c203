"""This module reads the output of every layer in LiteRT."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.runtimes.layer_graph import GraphOperator, Layer, layers
from tledge.runtimes.quantized_values import dequantize


class LiteRTLayers:
    """This session is one interpreter on a copy of the model, in memory, that returns the output of every layer.

    The outputs of the layers become outputs of the network, so XNNPACK computes them as it does when deployed. The
    interpreter could keep all its tensors instead, but then it would use other kernels: XNNPACK keeps nothing between
    its operators, and in int8 the built-in kernels round differently. A layer has the name of its output tensor, as
    operators have no names in this format.

    ``fed`` are layers, by their places, whose values the later layers get from the caller and not from the network.
    """

    layers: tuple[Layer, ...]
    is_float: tuple[bool, ...]

    def __init__(self, model: bytes, num_threads: int, fed: Sequence[int] = ()) -> None:
        from ai_edge_litert.interpreter import Interpreter
        from ai_edge_litert.tools import flatbuffer_utils

        parsed = flatbuffer_utils.convert_bytearray_to_object(bytearray(model))
        graph = parsed.subgraphs[0]
        self.layers = _layers(parsed, graph)
        graph.outputs = list(dict.fromkeys([*map(int, graph.outputs), *(layer.tensor for layer in self.layers)]))
        parsed.signatureDefs = []  # They name the inputs and outputs that the model had before.
        self._fed = [_feed(graph, self.layers[place].tensor) for place in fed]
        self._interpreter = Interpreter(
            model_content=bytes(flatbuffer_utils.convert_object_to_bytearray(parsed)), num_threads=num_threads
        )
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        outputs = {details["index"]: details for details in self._interpreter.get_output_details()}
        self._quantization = {index: details["quantization"] for index, details in outputs.items()}
        self.is_float = tuple(outputs[layer.tensor]["dtype"] is np.float32 for layer in self.layers)

    def run(
        self, pixels: npt.NDArray[np.uint8], fed: Sequence[npt.NDArray[np.float32]] = ()
    ) -> list[npt.NDArray[np.float32]]:
        """Return the output of every layer for one photo, uint8 RGB (1, S, S, 3).

        The outputs are dequantized, float32, in the order of ``layers``. ``fed`` holds the values of the fed layers.
        """
        self._interpreter.set_tensor(self._input, pixels)
        for tensor, values in zip(self._fed, fed, strict=True):
            self._interpreter.set_tensor(tensor, values)
        self._interpreter.invoke()
        return [self._value(layer.tensor) for layer in self.layers]

    def _value(self, tensor: object) -> npt.NDArray[np.float32]:
        values = self._interpreter.get_tensor(tensor)
        quantization = self._quantization[tensor]
        # A scale of zero is LiteRT's way to say that integers are plain numbers.
        return values.astype(np.float32) if quantization[0] == 0 else dequantize(values, quantization)


def _feed(graph: Any, tensor: Any) -> int:
    """Let everything that reads a tensor read a new input of the network instead, and return the input's number."""
    from ai_edge_litert import schema_py_generated as schema

    made = schema.TensorT()
    made.name, made.shape = graph.tensors[tensor].name + b"/fed", graph.tensors[tensor].shape
    made.type, made.buffer = schema.TensorType.FLOAT32, 0
    graph.tensors.append(made)
    number = len(graph.tensors) - 1
    for operator in graph.operators:
        operator.inputs = [number if name == tensor else name for name in operator.inputs]
    graph.inputs = [*graph.inputs, number]
    return number


def _layers(model: Any, graph: Any) -> tuple[Layer, ...]:
    """Return the layers of a graph, whose tensors are numbers in it. Damaged bytes raise whatever the reader raises."""
    from ai_edge_litert.tools import flatbuffer_utils

    operators = []
    for operator in graph.operators:
        kind = flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex)
        if kind is None or kind == "CUSTOM":
            kind = model.operatorCodes[operator.opcodeIndex].customCode.decode(errors="replace")
        reads = tuple(int(tensor) for tensor in operator.inputs if tensor >= 0)
        writes = tuple(int(tensor) for tensor in operator.outputs)
        operators.append(GraphOperator(graph.tensors[writes[0]].name.decode(errors="replace"), kind, reads, writes))
    (network_input,), (network_output,) = graph.inputs, graph.outputs
    return layers(operators, int(network_input), int(network_output))
