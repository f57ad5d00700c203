"""This module reads an ONNX graph operator by operator, and describes it as layers."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from typing import Any

import numpy as np

from tledge.audit.onnx_graph import is_standard
from tledge.backbones.described import IMAGES, DescribedNetwork
from tledge.importing.foreign import LayersUnknown
from tledge.importing.onnx_operators import operators
from tledge.importing.onnx_values import NHWC, Array, Layers, Node, Value, plain
from tledge.normalization import LUMA
from tledge.printable import one_line

_MOST_ELEMENTS = 2**28  # of a constant that is computed
_RANDOM = ("Random", "Bernoulli", "Multinomial")


def described(model: Any, input_size: int, channels: int, is_channels_first: bool, photos: int) -> DescribedNetwork:
    """Describe a model of one image input and one output, whose photos have sides of ``input_size`` pixels.

    ``photos`` is the number of photos that the file wants at once. Raises LayersUnknown.
    """
    graph = model.graph
    layers = Layers()
    layer = IMAGES
    if channels == 1:
        luma = np.array(LUMA, np.float32).reshape(1, 1, 3, 1)
        layer = layers.add("grey", "Conv2D", IMAGES, (luma,), filters=1, kernel_size=[1, 1], use_bias=False)
    sides = (input_size, input_size)
    images = plain(layer, (channels, *sides), NHWC) if is_channels_first else plain(layer, (*sides, channels))
    output = _walk(model, images, layers, photos)[graph.output[0].name]
    if not isinstance(output, Value):
        raise LayersUnknown("the output does not depend on the photo")
    num_outputs = math.prod(output.shape)
    flat = output.reshaped((num_outputs,))
    held = layers.in_order(flat, (0,)).layer
    if num_outputs == 1:
        held = layers.add("two_classes", "Dense", held, (np.array([[0, 1]], np.float32),), units=2, use_bias=False)
    if not layers.made or layers.made[-1].name != held:
        layers.add("output", "Activation", held, activation="linear")
    return DescribedNetwork(input_size, tuple(layers.made))


def _walk(model: Any, images: Value, layers: Layers, photos: int) -> dict[str, Value | Array]:
    import onnx
    from onnx import numpy_helper

    graph = model.graph
    (opset,) = [entry.version for entry in model.opset_import if is_standard(entry)][:1]
    known: dict[str, Value | Array] = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    known |= {value.name: images for value in graph.input if value.name not in known}
    readers: dict[str, list[str]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node.op_type)
    leaves = {one.name for one in graph.output}
    needed = _needed(graph)
    counts: Counter[str] = Counter()
    # Tensors whose layer has one reader: reshaping makes a tensor of the same layer, and both may be read.
    alone = {value.name: False for value in graph.input}
    for number, node in enumerate(graph.node):
        if number not in needed:
            continue
        counts[node.op_type] += 1
        name = one_line(node.name) or f"{node.op_type}_{counts[node.op_type]}"
        if missing := [one for one in node.input if one and one not in known]:
            raise LayersUnknown(
                f"the operator {node.op_type} {name!r} reads {one_line(missing[0])!r}, which is no dense tensor"
            )
        reads = tuple(known[one] if one else None for one in node.input)
        attributes = {one.name: _plain(onnx.helper.get_attribute_value(one)) for one in node.attribute}
        first = next((one for one in node.input if isinstance(known.get(one), Value)), "")
        made = Node(
            name=name,
            operator=one_line(node.op_type if is_standard(node) else f"{node.domain}.{node.op_type}"),
            reads=reads,
            attributes=attributes,
            opset=opset,
            readers=tuple(readers[node.output[0]]) if node.output[0] not in leaves else (),
            is_only_reader=alone.get(first, False),
            num_outputs=sum(1 for one in node.output if one),
            photos=photos,
        )
        if node.op_type == "Shape" and is_standard(node) and isinstance(reads[0], Value):
            shape = np.array([photos, *reads[0].shape], np.int64)
            known[node.output[0]] = shape[attributes.get("start", 0) : attributes.get("end")]
        elif not any(isinstance(one, Value) for one in reads):
            known |= _folded(node, made, opset)
        elif made.operator in operators():
            output = known[node.output[0]] = _described(made, layers)
            before = known.get(first)
            is_same_layer = isinstance(before, Value) and isinstance(output, Value) and before.layer == output.layer
            is_read_once = len(readers[node.output[0]]) == 1 and node.output[0] not in leaves
            alone[node.output[0]] = is_read_once and (alone.get(first, False) or not is_same_layer)
        else:
            raise made.unknown("is none of those that tledge describes as layers")
    return known


def _described(node: Node, layers: Layers) -> Value:
    try:
        return operators()[node.operator](node, layers)
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:  # settings of another form
        raise node.unknown(
            f"has settings that can't be read: {type(error).__name__}: {one_line(str(error))[:200]}"
        ) from error


def _needed(graph: Any) -> set[int]:
    """Return the numbers of the nodes on which the output depends."""
    producers = {name: number for number, node in enumerate(graph.node) for name in node.output if name}
    found: set[int] = set()
    waiting = [one.name for one in graph.output]
    while waiting:
        number = producers.get(waiting.pop())
        if number is not None and number not in found:
            found.add(number)
            waiting += graph.node[number].input
    return found


def _plain(attribute: Any) -> Any:
    return attribute.decode() if isinstance(attribute, bytes) else attribute


def _folded(node: Any, made: Node, opset: int) -> dict[str, Array]:
    """Compute an operator whose inputs are all constants by onnx's own reference of it."""
    from onnx.reference import ReferenceEvaluator

    if not is_standard(node) or node.op_type.startswith(_RANDOM):
        raise made.unknown("is none of those that tledge describes as layers")
    if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
        raise made.unknown("has graphs of its own")
    given = {name: read for name, read in zip(node.input, made.reads, strict=True) if name}
    try:
        results = ReferenceEvaluator(node, opsets={"": opset}).run(None, given)
    except Exception as error:  # each operator of the reference raises its own errors
        raise made.unknown(f"can't be computed: {type(error).__name__}: {one_line(str(error))[:200]}") from error
    found = {name: np.asarray(one) for name, one in zip(node.output, results, strict=False) if name}
    if any(one.size > _MOST_ELEMENTS for one in found.values()):
        raise made.unknown("makes a constant that is too large")
    return found
