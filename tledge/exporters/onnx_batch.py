"""ONNX files that take any number of photos at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from tledge.errors import PromiseBroken
from tledge.exporters.onnx_graph import INPUT, shapes_of

_NAME = "N"  # of the free dimension, as ONNX's own documents call it
_SIDE_BY_SIDE = 3
_SAME_ANSWER = 0.02  # of a probability: in codes of 8 bits, another order of the same sums can move one by a code
_WAY_OUT = "Nothing was written; leave out --batch any."


def free_batch(model: Any) -> None:
    """Make the first dimension of a model's input and output free; the model, of batch 1, changes in place.

    A Reshape to a shape that begins with the batch takes it from what it reads instead. Raises PromiseBroken where the
    network still wants one photo: several photos are answered, together and one by one.
    """
    graph = model.graph
    _reshape_any_batch(graph, shapes_of(model))
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = _NAME
    _require_same_answers(model)


def _reshape_any_batch(graph: Any, shapes: dict[str, tuple[int, ...]]) -> None:
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type != "Reshape" or node.input[1] not in constants:
            continue
        wanted = numpy_helper.to_array(constants[node.input[1]]).copy()
        if shapes.get(node.input[0], ())[:1] == (1,) and wanted[:1] == [1]:
            wanted[0] = 0  # in ONNX: as many as the input has there
            node.input[1] = f"{node.name}/any_batch"
            graph.initializer.append(numpy_helper.from_array(wanted, node.input[1]))


def _require_same_answers(model: Any) -> None:
    """Raise PromiseBroken where photos get other answers together than they get one by one."""
    import onnxruntime

    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim[1:]]
    photos = np.random.default_rng(0).integers(0, 256, (_SIDE_BY_SIDE, *shape), np.uint8)
    photos[1], photos[2] = photos[1] // 4, 255 - photos[2] // 4  # a dark one and a light one
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is told below
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    try:
        (together,) = session.run(None, {INPUT: photos})
        alone = np.concatenate([session.run(None, {INPUT: photo[None]})[0] for photo in photos])
    except Exception as error:  # ONNX Runtime's exceptions share no class of their own
        raise PromiseBroken(
            f"this network takes one photo at a time: ONNX Runtime can't run it on {_SIDE_BY_SIDE} ({error}). {_WAY_OUT}"
        ) from error
    if together.shape != alone.shape or not np.max(np.abs(together - alone)) <= _SAME_ANSWER:
        raise PromiseBroken(f"this network answers several photos together otherwise than one by one. {_WAY_OUT}")
