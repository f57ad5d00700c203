"""This module quantizes the weights of an ONNX graph, whose activations get their ranges while it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tledge.exporters.onnx_graph import quantizable
from tledge.files import temporary_folder


def quantize_weights(graph: Any) -> Any:
    """Quantize to uint8 the weights of matrix products, and of convolutions that read all channels of their input.

    ``graph``: a float32 ONNX model. ONNX Runtime's quantizer gives such weights one scale for all output channels. So each
    output channel is scaled to the same largest weight before. The integer convolution is slow where every channel has a
    kernel of its own. So depthwise and grouped convolutions stay float. Together these cost less time and less accuracy.
    Returns the quantized model.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    onnx.checker.check_model(
        graph
    )  # its error names an operator that ONNX does not know; the quantizer's speaks of a missing type
    model = quantizable(graph)
    _channels_to_one_scale(model)
    with temporary_folder() as folder:
        quantized = Path(folder, "quantized.onnx")
        quantize_dynamic(
            model,
            str(quantized),
            op_types_to_quantize=["Conv", "MatMul"],
            nodes_to_exclude=[node.name for node in model.graph.node if _sees_part_of_its_input(node)],
            weight_type=QuantType.QUInt8,  # the kernel for int8 was several times slower
        )
        return onnx.load(quantized)


def _sees_part_of_its_input(node: Any) -> bool:
    return node.op_type == "Conv" and any(part.name == "group" and part.i > 1 for part in node.attribute)


def _channels_to_one_scale(model: Any) -> None:
    """Turn conv(x, w) + b into s * conv(x, w / s) + b, where s is the largest absolute weight of each output channel."""
    from onnx import helper, numpy_helper

    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[Any] = []
    for node in graph.node:
        nodes.append(node)
        if node.op_type != "Conv" or _sees_part_of_its_input(node) or not constants.keys() >= set(node.input[1:]):
            continue
        weights = numpy_helper.to_array(constants[node.input[1]])
        largest = np.abs(weights).reshape(len(weights), -1).max(axis=1)
        scale = np.where(largest > 0, largest, 1).reshape(-1, *[1] * (weights.ndim - 1)).astype(np.float32)
        given, (unit, scaled) = node.output[0], (f"{node.name}/unit", f"{node.name}/scaled")
        values = {"weights": weights / scale, "scale": scale[None, ..., 0]}
        if len(node.input) == 3:
            values["bias"] = numpy_helper.to_array(constants[node.input[2]]).reshape(values["scale"].shape)
        names = {part: f"{node.name}/{part}" for part in values}
        graph.initializer.extend(numpy_helper.from_array(value, names[part]) for part, value in values.items())
        node.input[1:] = [names["weights"]]
        node.output[0] = unit
        product = scaled if "bias" in names else given
        nodes.append(helper.make_node("Mul", [unit, names["scale"]], [product], f"{node.name}/Mul"))
        if "bias" in names:
            nodes.append(helper.make_node("Add", [scaled, names["bias"]], [given], f"{node.name}/Add"))
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    graph.ClearField("node")
    graph.node.extend(copies)
    used = {name for node in graph.node for name in node.input}
    unused = [tensor for name, tensor in constants.items() if name not in used]
    for tensor in unused:
        graph.initializer.remove(tensor)
    graph.ClearField("value_info")  # it holds shapes from before the change
