"""This module turns a TensorFlow function into an ONNX graph, and changes the graph so that every runtime has kernels for it."""

from __future__ import annotations

import contextlib
import gc
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tledge.exporters.float16 import require_within
from tledge.files import temporary_folder

OPSET = 17  # tf2onnx 1.17 writes 15 to 18
INPUT, OUTPUT = "pixels", "probabilities"


def of_function(function: Any, input_size: int, dtype: str) -> Any:
    """Convert a TensorFlow function to an ONNX model of batch 1.

    ``function``: takes images (1, S, S, 3) of ``dtype``, where S is ``input_size``, and returns one tensor.
    """
    from tf2onnx.optimizer import optimize_graph
    from tf2onnx.tf_loader import tf_optimize
    from tf2onnx.tfonnx import process_tf_graph

    from tledge.tensorflow_setup import tensorflow

    tf = tensorflow()
    logging.getLogger("tf2onnx").setLevel(logging.WARNING)
    # These are the steps of tf2onnx.convert.from_graph_def, which holds two more copies of the weights meanwhile.
    definition, taken, given = _frozen(function, input_size, dtype)
    gc.collect()
    with tf.device("/cpu:0"), tf.Graph().as_default():
        definition = tf_optimize([taken], [given], definition)
    with tf.Graph().as_default() as graph, _weights_stay_in_place():
        tf.import_graph_def(definition, name="")
        del definition
        converted = process_tf_graph(
            graph,
            continue_on_error=True,
            opset=OPSET,
            input_names=[taken],
            output_names=[given],
            custom_rewriter=[_give_addends_an_axis],
        )
        model = optimize_graph(converted, catch_errors=False).make_model("converted from unknown")
    _drop_idle_reshapes(model)
    paddings_to_convolutions(model, only_misread=True)
    return canonical(model)


def _frozen(function: Any, input_size: int, dtype: str) -> tuple[Any, str, str]:
    """Trace a function, and return its GraphDef without variables, with the names of its input and output.

    It is frozen here, because tf2onnx turns every constant that a function captured into a graph input.
    """
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    from tledge.tensorflow_setup import tensorflow

    tf = tensorflow()
    spec = tf.TensorSpec([1, input_size, input_size, 3], dtype, name=INPUT)
    traced = tf.function(function, input_signature=[spec], autograph=False)
    frozen = convert_variables_to_constants_v2(traced.get_concrete_function())
    (taken,), (given,) = frozen.inputs, frozen.outputs
    return frozen.graph.as_graph_def(), taken.name, given.name


@contextlib.contextmanager
def _weights_stay_in_place() -> Iterator[None]:
    """Keep tf2onnx from copying all weights after each of its dozens of passes over a graph.

    After a pass it writes each node into the node's protobuf once more, which frees nothing of what stood there before.
    That of a constant is never read: its value is kept beside it.
    """
    from tf2onnx.graph import Graph

    def update_proto(graph: Any, external_tensor_storage: Any = None) -> None:
        for node in graph.get_nodes():
            if not node.is_const():
                node.update_proto(external_tensor_storage)

    its_own = Graph.update_proto
    Graph.update_proto = update_proto
    try:
        yield
    finally:
        Graph.update_proto = its_own


def canonical(model: Any) -> Any:
    """Sort the nodes of a model in the order of a walk from its output, and name them by that order, in place.

    tf2onnx takes numbers from a counter of the process and walks sets. So two conversions of one graph differ in names and
    order. A node becomes ``<operator>_<number>``, and a constant ``<its first node>/<input number>``.
    """
    graph = model.graph
    _compute_output(graph)
    producer = {name: node for node in graph.node for name in node.output}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    new_names = {graph.input[0].name: INPUT, graph.output[0].name: OUTPUT}
    ordered: list[Any] = []
    seen: set[int] = set()

    def read_by(node: Any) -> list[str]:
        """Return every name that a node reads, those inside its branches included."""
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


def _compute_output(graph: Any) -> None:
    """Let an Identity write the output of the graph where tf2onnx made the output a constant.

    It does so for a network that answers every photo alike.
    """
    from onnx import helper

    constant = graph.output[0].name
    if any(tensor.name == constant for tensor in graph.initializer):
        graph.output[0].name = f"{constant}/output"
        graph.node.append(helper.make_node("Identity", [constant], [graph.output[0].name]))


def _give_addends_an_axis(graph: Any, nodes: list[Any]) -> Any:
    """Replace a scalar that is added to a tensor, as in ``relu6(x + 3)``, by a constant of one axis.

    tf2onnx calls this function as a rewriter of its graph. It looks for the longest axis of what is added behind a
    convolution. Where there is no axis, it warns and stops taking transpositions out of the whole graph. A graph that keeps
    them can't be quantized.
    """
    for node in nodes:
        for place, (addend, other) in enumerate(((0, 1), (1, 0)) if node.type in ("Add", "AddV2") else ()):
            constant = node.inputs[addend]
            if constant.is_const() and graph.get_shape(node.input[addend]) == [] and graph.get_rank(node.input[other]):
                value = constant.get_tensor_value(as_list=False).reshape(1)
                wide = graph.make_const(f"{node.name}/addend{place}", value)
                graph.replace_input(node, node.input[addend], wide.output[0], addend)
    return graph.get_nodes()


def _drop_idle_reshapes(model: Any) -> None:
    """Take out every Reshape to the shape that its input already has.

    On maps of 1 x 1 pixel, tf2onnx leaves such a Reshape in place of two transpositions that undo each other. Between a
    convolution and its batch normalization it keeps ONNX Runtime from fusing the two.
    """
    shapes = shapes_of(model)
    graph = model.graph
    outputs = {value.name for value in graph.output}
    stands_for: dict[str, str] = {}
    for node in list(graph.node):  # every node comes after those that it reads
        node.input[:] = [stands_for.get(name, name) for name in node.input]
        taken, given = shapes.get(node.input[0]) if node.input else None, shapes.get(node.output[0])
        if node.op_type == "Reshape" and taken is not None and taken == given and node.output[0] not in outputs:
            stands_for[node.output[0]] = node.input[0]
            graph.node.remove(node)


def shapes_of(model: Any) -> dict[str, tuple[int, ...]]:
    """Infer the shape of every tensor of a model, by its name. Tensors whose shape is not fully known are left out."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    return {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
        if all(dim.HasField("dim_value") for dim in value.type.tensor_type.shape.dim)
    }


def weights_to_float16(model: Any) -> None:
    """Store every float32 constant of more than one element as float16, with a Cast back to float32 behind it.

    A runtime does the Cast once, when it loads the model. Raises PromiseBroken where a weight is beyond float16's range.
    """
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.size < 2:
            continue
        require_within(tensor.name, values)
        name, small = tensor.name, f"{tensor.name}/float16"
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), small))
        casts.append(helper.make_node("Cast", [small], [name], f"{name}/Cast", to=TensorProto.FLOAT))
    nodes = [type(node).FromString(node.SerializeToString()) for node in (*casts, *graph.node)]
    graph.ClearField("node")
    graph.node.extend(nodes)


def quantizable(model: Any) -> Any:
    """Return the model as ONNX Runtime's quantizers want it: with inferred shapes, and with constants folded."""
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with temporary_folder() as folder:
        plain, ready = (Path(folder, f"{stage}.onnx") for stage in ("plain", "ready"))
        onnx.save(model, plain)
        # Symbolic shape inference needs one more package, and every shape here is fixed.
        quant_pre_process(str(plain), str(ready), skip_symbolic_shape=True)
        return onnx.load(ready)


def subtractions_to_additions(model: Any) -> None:
    """Turn x - c into x + (-c), because ONNX Runtime has an integer kernel for addition and none for subtraction."""
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


def batch_normalizations_to_convolutions(model: Any) -> None:
    """Replace each batch normalization that ONNX Runtime can't fuse by a depthwise 1 x 1 convolution.

    ONNX Runtime fuses a batch normalization into the convolution before it, if nothing else reads that convolution. For
    other batch normalizations, such as those of DenseNet or ResNetV2, it has no integer kernel. The depthwise convolution
    has one weight for each channel, so per-channel int8 represents its weights exactly.
    """
    from onnx import helper, numpy_helper

    graph, shapes = model.graph, shapes_of(model)
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


def paddings_to_convolutions(model: Any, *, only_misread: bool = False) -> None:
    """Replace each Pad that puts zeros around maps by a depthwise 1 x 1 convolution of ones, which pads in the same way.

    ONNX Runtime has no integer kernel for Pad. It makes a Pad part of the Conv or MaxPool that reads it, but a MaxPool pads
    with minus infinity. So a Pad stays only if one Conv alone reads it, or one MaxPool that ignores the zeros: behind a ReLU
    no value is smaller than zero, and every window holds one.

    ``only_misread``: whether a Pad stays, too, where ONNX Runtime computes it as it is written, in float.
    """
    from onnx import helper, numpy_helper

    graph, shapes = model.graph, shapes_of(model)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    producer = {name: node for node in graph.node for name in node.output}
    outputs = {value.name for value in graph.output}
    for node in graph.node:
        taken, shape = node.input[0] if node.input else "", shapes.get(node.input[0] if node.input else "", ())
        around = _zeros_around(node, constants) if node.op_type == "Pad" else None
        if around is None or len(shape) != 4 or any((*around[0][:2], *around[1][:2])):
            continue
        readers = [other for other in graph.node for name in other.input if name == node.output[0]]
        reader = readers[0] if len(readers) == 1 and node.output[0] not in outputs else None
        is_pooled = reader is not None and reader.op_type == "MaxPool"
        if only_misread and not is_pooled:
            continue
        if reader is not None and (
            reader.op_type == "Conv"
            or (is_pooled and _is_never_negative(producer.get(taken), constants) and _is_within(reader, around))
        ):
            continue
        name, num_channels = node.name or node.output[0], shape[1]
        weights = numpy_helper.from_array(np.ones((num_channels, 1, 1, 1), np.float32), f"{name}/ones")
        graph.initializer.append(weights)
        convolution = helper.make_node(
            "Conv",
            [taken, weights.name],
            node.output[:1],
            node.name,
            kernel_shape=[1, 1],
            group=num_channels,
            pads=[*around[0][2:], *around[1][2:]],
        )
        node.CopyFrom(convolution)


def _zeros_around(node: Any, constants: dict[str, Any]) -> tuple[list[int], list[int]] | None:
    """Return how many zeros a Pad puts before and behind each axis, or None where it does something else."""
    from onnx import numpy_helper

    mode = next((attribute.s for attribute in node.attribute if attribute.name == "mode"), b"constant")
    settings = [constants.get(name) for name in node.input[1:] if name]
    if mode != b"constant" or len(node.input) > 3 or not settings or None in settings:
        return None
    sizes, *value = (numpy_helper.to_array(setting) for setting in settings)
    counts = [int(count) for count in sizes]
    if min(counts) < 0 or np.any(value):
        return None
    return counts[: len(counts) // 2], counts[len(counts) // 2 :]


def _is_never_negative(node: Any, constants: dict[str, Any]) -> bool:
    from onnx import numpy_helper

    if node is None or node.op_type not in ("Relu", "Clip"):
        return False
    least = constants.get(node.input[1]) if node.op_type == "Clip" and len(node.input) > 1 else None
    return node.op_type == "Relu" or (least is not None and float(numpy_helper.to_array(least)) >= 0)


def _is_within(pool: Any, around: tuple[list[int], list[int]]) -> bool:
    """Return whether every window of a MaxPool reads more than padding; ONNX Runtime refuses to load others."""
    kernel = next(list(attribute.ints) for attribute in pool.attribute if attribute.name == "kernel_shape")
    before = next((list(attribute.ints) for attribute in pool.attribute if attribute.name == "pads"), [0] * 4)
    added = [*around[0][2:], *around[1][2:]]
    return all(one + own < size for one, own, size in zip(added, before, kernel * 2, strict=True))
