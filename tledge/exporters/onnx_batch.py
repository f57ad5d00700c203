"""This module makes ONNX models take any number of photos at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from tledge.errors import PromiseBroken
from tledge.exporters.onnx_graph import INPUT, shapes_of

_NAME = "N"  # names the free dimension, as ONNX's own documents do
_SIDE_BY_SIDE = 3
# The largest difference of a probability. In int8, another order of the same sums can move a quantized value by one.
_SAME_ANSWER = 0.02
_WAY_OUT = "Nothing was written. Leave out --batch any."


def free_batch(model: Any) -> None:
    """Make the first dimension of the input and the output of a model free. The model has batch 1 and changes in place.

    Every Reshape to a shape that begins with the batch takes the batch from its input instead. The model then answers
    several photos, together and one by one. Raises PromiseBroken where it can't, or the answers differ.
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
            wanted[0] = 0  # ONNX reads 0 as the length that the input has there
            node.input[1] = f"{node.name}/any_batch"
            graph.initializer.append(numpy_helper.from_array(wanted, node.input[1]))


def _require_same_answers(model: Any) -> None:
    """Raise PromiseBroken where ONNX Runtime can't run several photos, or answers them otherwise than one by one."""
    import onnxruntime

    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim[1:]]
    photos = np.random.default_rng(0).integers(0, 256, (_SIDE_BY_SIDE, *shape), np.uint8)
    photos[1], photos[2] = photos[1] // 4, 255 - photos[2] // 4  # a dark photo and a light photo
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # the error below tells what goes wrong
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    try:
        (together,) = session.run(None, {INPUT: photos})
        alone = np.concatenate([session.run(None, {INPUT: photo[None]})[0] for photo in photos])
    except Exception as error:  # the exceptions of ONNX Runtime share no base class
        raise PromiseBroken(
            f"this network takes one photo at a time: ONNX Runtime can't run it on {_SIDE_BY_SIDE} ({error}). {_WAY_OUT}"
        ) from error
    if together.shape != alone.shape or not np.max(np.abs(together - alone)) <= _SAME_ANSWER:
        raise PromiseBroken(f"this network answers several photos together otherwise than one by one. {_WAY_OUT}")
