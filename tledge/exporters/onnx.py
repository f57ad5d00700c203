"""ONNX: tf2onnx for the graph, ONNX Runtime's static quantizer for QDQ int8."""

from __future__ import annotations

import logging
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tledge.exporters import Format, Model

OPSET = 17  # tf2onnx 1.17 writes 15 to 18
METADATA_KEY = "tledge"
INPUT, OUTPUT = "pixels", "probabilities"
_LIBRARIES = ("tensorflow", "tf2onnx", "onnx", "onnxruntime", "numpy")


def _convert(model: Model, signature: str) -> Any:
    """An ONNX model of batch 1 of one signature, probabilities only."""
    import tf2onnx
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    from tledge.tensorflow_setup import tensorflow

    tf = tensorflow()
    logging.getLogger("tf2onnx").setLevel(logging.WARNING)
    loaded = tf.saved_model.load(str(model.saved_model))
    dtype = tf.uint8 if signature == "serving_default" else tf.float32
    spec = tf.TensorSpec([1, model.input_size, model.input_size, 3], dtype, name=INPUT)

    @tf.function(input_signature=[spec])  # type: ignore[untyped-decorator]
    def probabilities(pixels: Any) -> Any:
        return loaded.signatures[signature](pixels=pixels)["probabilities"]

    # Frozen here, because tf2onnx makes a graph input of every constant that a function captured.
    frozen = convert_variables_to_constants_v2(probabilities.get_concrete_function())
    (taken,), (given,) = frozen.inputs, frozen.outputs
    graph, _ = tf2onnx.convert.from_graph_def(
        frozen.graph.as_graph_def(), input_names=[taken.name], output_names=[given.name], opset=OPSET
    )
    _drop_idle_reshapes(graph)
    return canonical(graph)


def _drop_idle_reshapes(model: Any) -> None:
    """Take out every Reshape to the shape that its input has.

    On maps of 1 x 1 pixel tf2onnx leaves pairs of transpositions that undo each other, as such a Reshape; one that stands
    between a convolution and its batch normalization keeps ONNX Runtime from making one operator of the two.
    """
    shapes = _shapes(model)
    graph = model.graph
    outputs = {value.name for value in graph.output}
    stands_for: dict[str, str] = {}
    for node in list(graph.node):  # each after what it reads
        node.input[:] = [stands_for.get(name, name) for name in node.input]
        taken, given = shapes.get(node.input[0]) if node.input else None, shapes.get(node.output[0])
        if node.op_type == "Reshape" and taken is not None and taken == given and node.output[0] not in outputs:
            stands_for[node.output[0]] = node.input[0]
            graph.node.remove(node)


def _shapes(model: Any) -> dict[str, tuple[int, ...]]:
    """Of every tensor of the graph whose shape is known whole."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    return {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
        if all(dim.HasField("dim_value") for dim in value.type.tensor_type.shape.dim)
    }


def canonical(model: Any) -> Any:
    """The same model with its nodes in the order of a walk from the output, and names that follow from that order.

    tf2onnx numbers names from a counter of the process and walks sets, so two conversions of one graph differ in
    names and order. A node becomes ``<operator>_<number>``, a constant ``<its first node>/<input number>``.
    """
    graph = model.graph
    producer = {name: node for node in graph.node for name in node.output}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    new_names = {graph.input[0].name: INPUT, graph.output[0].name: OUTPUT}
    ordered: list[Any] = []
    seen: set[int] = set()

    def read_by(node: Any) -> list[str]:
        """Every name that a node reads, those inside its branches too."""
        inner = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
        return [*node.input, *(name for branch in inner for child in branch.node for name in read_by(child))]

    stack = [(producer[graph.output[0].name], False)]  # not recursive: a network is deeper than Python's stack
    while stack:
        node, inputs_done = stack.pop()
        if inputs_done:
            ordered.append(node)
            continue
        if id(node) in seen:
            continue
        seen.add(id(node))
        stack.append((node, True))
        stack += [(producer[name], False) for name in reversed(read_by(node)) if name in producer]

    for number, node in enumerate(ordered):
        node.name = f"{node.op_type}_{number}"
        for i, name in enumerate(read_by(node)):
            if name in constants:
                new_names.setdefault(name, f"{node.name}/{i}")
        for i, name in enumerate(node.output):
            new_names.setdefault(name, f"{node.name}:{i}")

    def rename(node: Any) -> None:
        node.input[:] = [new_names.get(name, name) for name in node.input]
        node.output[:] = [new_names.get(name, name) for name in node.output]
        for attribute in node.attribute:
            for child in attribute.g.node if attribute.HasField("g") else ():
                rename(child)

    used = [constants[name] for name in new_names if name in constants]
    for named in (*used, graph.input[0], graph.output[0]):
        named.name = new_names[named.name]
    for node in ordered:
        rename(node)
    for field, content in (("node", ordered), ("initializer", used)):
        copies = [type(item).FromString(item.SerializeToString()) for item in content]
        graph.ClearField(field)
        getattr(graph, field).extend(copies)
    graph.ClearField("value_info")
    graph.name = "classifier"
    return model


def _finish(model: Any, metadata: str) -> bytes:
    import onnx

    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {METADATA_KEY: metadata})
    model.producer_name = "tledge"
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def _float32(model: Model) -> bytes:
    return _finish(_convert(model, "serving_default"), model.metadata)


class _CalibrationReader:
    """ONNX Runtime's protocol for representative data: one photo a call, then None."""

    def __init__(self, photos: Sequence[Any]) -> None:
        self._photos = iter(photos)

    def get_next(self) -> dict[str, Any] | None:
        photo = next(self._photos, None)
        return None if photo is None else {INPUT: photo[None].astype(np.float32)}


def _int8(model: Model) -> bytes:
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    assert model.calibration is not None
    graph = _convert(model, "float_pixels")
    _subtractions_to_additions(graph)
    _batch_normalizations_to_convolutions(graph)
    with tempfile.TemporaryDirectory(prefix="tledge-") as folder:
        plain, prepared, quantized = (Path(folder, f"{stage}.onnx") for stage in ("plain", "prepared", "quantized"))
        onnx.save(graph, plain)
        # Symbolic shape inference wants another package, and every shape here is fixed.
        quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(quantized),
            _CalibrationReader(list(model.calibration)),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
        )
        graph = onnx.load(quantized)
    _take_codes(graph)
    return _finish(graph, model.metadata)


def _subtractions_to_additions(model: Any) -> None:
    """x - c becomes x + (-c): ONNX Runtime has an integer kernel for addition and none for subtraction."""
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Sub" and node.input[1] in constants:
            name = f"{node.input[1]}/negated"
            if name not in constants:
                value = -numpy_helper.to_array(constants[node.input[1]])
                constants[name] = numpy_helper.from_array(value, name)
                model.graph.initializer.append(constants[name])
            node.op_type, node.input[1] = "Add", name


def _batch_normalizations_to_convolutions(model: Any) -> None:
    """A batch normalization of maps becomes a convolution by one weight a channel, where no convolution comes before it.

    ONNX Runtime makes it part of a convolution that it alone reads, and has no integer kernel for any other, as there are
    in DenseNet or ResNetV2. A single weight a channel is exact in int8 per channel.
    """
    from onnx import helper, numpy_helper

    graph, shapes = model.graph, _shapes(model)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    producer = {name: node for node in graph.node for name in node.output}
    readers = Counter(name for node in graph.node for name in node.input)
    for node in graph.node:
        taken = node.input[0] if node.op_type == "BatchNormalization" else ""
        is_fused = taken in producer and producer[taken].op_type == "Conv" and readers[taken] == 1
        if not taken or is_fused or len(shapes.get(taken, ())) != 4 or not constants.keys() >= set(node.input[1:]):
            continue
        scale, offset, mean, variance = (
            numpy_helper.to_array(constants[name]).astype(np.float64) for name in node.input[1:]
        )
        epsilon = next((attribute.f for attribute in node.attribute if attribute.name == "epsilon"), 1e-5)
        factor = scale / np.sqrt(variance + epsilon)
        values = {"weights": factor.reshape(-1, 1, 1, 1), "bias": offset - mean * factor}
        names = {part: f"{node.name}/{part}" for part in values}
        graph.initializer.extend(
            numpy_helper.from_array(value.astype(np.float32), names[part]) for part, value in values.items()
        )
        convolution = helper.make_node(
            "Conv", [taken, *names.values()], node.output[:1], node.name, kernel_shape=[1, 1], group=len(factor)
        )
        node.CopyFrom(convolution)


def _take_codes(model: Any) -> None:
    """Make the quantized codes of the input the graph's input: its QuantizeLinear goes, uint8 pixels come in."""
    from onnx import TensorProto

    graph = model.graph
    quantizers = [node for node in graph.node if node.op_type == "QuantizeLinear" and node.input[0] == INPUT]
    if len(quantizers) != 1:
        raise RuntimeError(f"expected one QuantizeLinear on {INPUT!r}, found {len(quantizers)}")
    (quantizer,) = quantizers
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name == quantizer.output[0]:
                node.input[i] = INPUT
    graph.node.remove(quantizer)
    stale = [info for info in graph.value_info if info.name in (INPUT, quantizer.output[0])]
    for info in stale:
        graph.value_info.remove(info)
    graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8


FORMATS = (
    Format("onnx-float32", "model.onnx", "float32", False, _float32, {"opset": str(OPSET)}, _LIBRARIES),
    Format(
        "onnx-int8",
        "model.onnx",
        "all-integer",
        True,
        _int8,
        {
            "opset": str(OPSET),
            "weights": "int8, per-channel",
            "activations": "uint8",
            "input": "uint8",
            "output": "float32, after the last DequantizeLinear",
            "form": "static QDQ",
            "ranges": "min-max",
        },
        _LIBRARIES,
    ),
)
