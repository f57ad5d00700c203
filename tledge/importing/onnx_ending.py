"""A classifier's file may end in a softmax or a sigmoid: this module finds what it ends in, and cuts that off."""

from __future__ import annotations

from typing import Any

from tledge.audit.onnx_graph import is_standard
from tledge.importing.foreign import Ending

_ENDINGS: dict[str, Ending] = {"Softmax": "softmax", "LogSoftmax": "softmax", "Sigmoid": "sigmoid"}
_PASSED = {"Identity", "Flatten", "Squeeze", "Unsqueeze", "Reshape", "Cast", "Dropout"}


def cut_ending(model: Any) -> Ending:
    """Let a model of one output end before its last softmax or sigmoid, and tell what that was.

    What only changes the shape of the probabilities is cut off, too.
    """
    graph = model.graph
    producers = {name: node for node in graph.node if is_standard(node) for name in node.output if name}
    name = graph.output[0].name
    while (node := producers.get(name)) is not None and node.op_type in _PASSED and node.input:
        name = node.input[0]
    if node is None or node.op_type not in _ENDINGS:
        return "logits"
    place = next(number for number, one in enumerate(graph.node) if node.output[0] in one.output)
    kept = [one for one in graph.node if node.input[0] in one.output]
    if not kept:  # softmax of the input itself, or of a constant
        return "logits"
    ending = _ENDINGS[node.op_type]
    _end_at(model, node.input[0], place)
    return ending


def _end_at(model: Any, name: str, place: int) -> None:
    graph = model.graph
    # The nodes stand in an order in which they can run, so what is written from here on is not needed.
    del graph.node[place:]
    del graph.value_info[:]  # some of them are of tensors that are gone, and ONNX Runtime infers them anyway
    del graph.output[:]
    graph.output.add().name = name
