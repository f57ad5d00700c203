"""This module names the tensors of a TFLite file, so that a person finds a layer's weights and no two names are equal."""

from __future__ import annotations

import re
from typing import Any

from tledge.compression.layer_kinds import kinds
from tledge.exporters.onnx_graph import INPUT, OUTPUT

# A converter puts these before the names of a network's own layers. They are functions that call each other, and a Keras
# network whose number counts up in a process.
_SCOPE = re.compile(r"^(?:(?:Stateful)?PartitionedCall(?:_\d+)?/|model(?:_\d+)?/)+")
_CALL = re.compile(r"^(?:Stateful)?PartitionedCall(?:_\d+)?:\d+")  # the output of such a function
_PRODUCT = re.compile(r"(.*?)/?(Conv2D|depthwise|MatMul|convolution)\d*$")  # operators of TensorFlow that have weights
_PARTS = {1: "weights", 2: "bias"}  # places among the inputs of an operator that multiplies
_UNPACKING = ("DEQUANTIZE", "DENSIFY")  # their output stands for the constant that they read


def name_tensors(model: Any) -> None:
    """Give every tensor of a model a unique name, in place.

    ``model``: the object form of TFLite's schema. The input becomes ``pixels`` and the output ``probabilities``, as in ONNX.
    Weights and biases become ``LAYER/weights`` and ``LAYER/bias``, after the first operator that reads them. A constant that
    an operator unpacks to such weights has its data type behind that name. All other tensors keep the first of the names that
    the converter joined. A number follows where another tensor has the same name.
    """
    from tensorflow.lite.python.schema_py_generated import TensorType

    types = {number: name.lower() for name, number in vars(TensorType).items() if isinstance(number, int)}
    used: set[str] = set()
    for place, graph in enumerate(model.subgraphs):
        wanted = _ends(graph) if place == 0 else {}
        wanted |= _weights(model, graph, types)
        for number, tensor in enumerate(graph.tensors):
            wanted.setdefault(number, _names(tensor)[0])
        for number, name in wanted.items():
            graph.tensors[number].name = _unique(name, used).encode()


def _ends(graph: Any) -> dict[int, str]:
    """Return the names of the input and the output, by the tensors' numbers."""
    (taken,), (given,) = graph.inputs, graph.outputs
    return {int(taken): INPUT, int(given): OUTPUT}


def _weights(model: Any, graph: Any, types: dict[int, str]) -> dict[int, str]:
    """Return the names of weights and biases, and of the constants that they are unpacked from, by the tensors' numbers."""
    from tensorflow.lite.tools import flatbuffer_utils

    multiplying = {name for kind in kinds().values() if kind.kernel for name in kind.tflite}
    names = [flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex) for operator in graph.operators]
    operators = list(zip(names, graph.operators, strict=True))
    packed = {
        int(operator.outputs[0]): int(operator.inputs[0])
        for name, operator in operators
        if name in _UNPACKING and _is_constant(model, graph, operator.inputs[0])
    }
    found: dict[int, str] = {}
    for name, operator in operators:
        for place, part in _PARTS.items() if name in multiplying else ():
            number = int(operator.inputs[place]) if place < len(operator.inputs) else -1
            if number >= 0 and (number in packed or _is_constant(model, graph, number)):
                found.setdefault(number, f"{_layer(graph, operator)}/{part}")
    for unpacked, constant in packed.items():
        if unpacked in found:
            found.setdefault(constant, f"{found[unpacked]}/{types[graph.tensors[constant].type]}")
    return found


def _is_constant(model: Any, graph: Any, number: int) -> bool:
    return model.buffers[graph.tensors[number].buffer].data is not None


def _layer(graph: Any, operator: Any) -> str:
    """Return the name of the layer of an operator that multiplies.

    It is the scope of the multiplying TensorFlow operator, which the names of the weights and the output hold.
    """
    names = [name for number in (operator.inputs[1], operator.outputs[0]) for name in _names(graph.tensors[number])]
    product = next(filter(None, map(_PRODUCT.fullmatch, names)), None)
    return (product[1] or product[2]) if product else names[0]


def _names(tensor: Any) -> list[str]:
    """Return the names that the converter joined with semicolons, without its scopes; ``tensor`` where there is none.

    A tensor stands for several operators of TensorFlow, and has the name of each.
    """
    joined = (tensor.name or b"").decode(errors="replace").split(";")
    return [_SCOPE.sub("", _CALL.sub(OUTPUT, name)) for name in joined if name] or ["tensor"]


def _unique(name: str, used: set[str]) -> str:
    """Return the name, with a number where it is in ``used`` already, and add the result to ``used``."""
    candidate, number = name, 1
    while candidate in used:
        number += 1
        candidate = f"{name}_{number}"
    used.add(candidate)
    return candidate
