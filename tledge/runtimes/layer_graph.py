"""This module reduces a network to layers whose outputs can be compared, and matches the layers of two networks.

Two exports of one network differ in names, in numbering, in conversions between quantized and real values, and in what
was folded into a convolution. They share the structure, so layers are matched by that and never by their values.
So a broken layer is reported as broken, and not as one without a counterpart.
"""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

Tensor = Hashable
INPUT = -1  # This stands for the network's input among the inputs of a layer.

# These operators of both formats only change the form of a value: how it is quantized, laid out or padded.
TRANSPARENT = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "Cast", "Identity"}
    | {"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Pad"}
    | {"QUANTIZE", "DEQUANTIZE", "CAST", "TRANSPOSE", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "PAD"}
)
WEIGHTED = frozenset(
    {"Conv", "ConvTranspose", "Gemm", "MatMul"}
    | {"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED", "BATCH_MATMUL"}
)
# Optimizers fold these into the weighted operator before them, or into its range, if their other inputs are constant.
FOLDABLE = frozenset(
    {"BatchNormalization", "Add", "Sub", "Mul", "Div", "Relu", "Clip"}
    | {"ADD", "SUB", "MUL", "DIV", "RELU", "RELU6", "RELU_N1_TO_1"}
)
# An export may write one operator as the other: x - c as x + (-c), or a matrix product with a bias as Gemm.
_SAME = {"Sub": "Add", "SUB": "ADD", "MatMul": "Gemm"}


@dataclass(frozen=True)
class GraphOperator:
    """An operator is held as in the file: with a readable name, its type, and the tensors that it reads and writes."""

    name: str
    kind: str
    reads: tuple[Tensor, ...]
    writes: tuple[Tensor, ...]


@dataclass(frozen=True)
class Layer:
    """A layer is an operator with the operators after it that are folded into it. ``tensor`` holds its output.

    ``inputs`` are the layers that it reads, by their places in the list of layers, or INPUT.
    """

    name: str
    operator: str
    tensor: Tensor
    inputs: tuple[int, ...]


@dataclass(frozen=True)
class Matching:
    """A matching holds pairs of layers by their places (left, right), and each side's layers without a counterpart."""

    pairs: tuple[tuple[int, int], ...]
    only_left: tuple[int, ...]
    only_right: tuple[int, ...]


def layers(operators: Iterable[GraphOperator], network_input: Tensor, network_output: Tensor) -> tuple[Layer, ...]:
    """Return the layers between input and output, each after the layers that it reads.

    The last layer holds the network's answer. ``operators`` come in an order in which they can run, as both formats
    ask for. An operator that does not depend on the input, such as a weight's DequantizeLinear, is no layer. Raises
    ValueError where the output does not depend on the input.
    """
    producer: dict[Tensor, GraphOperator] = {}
    reads: dict[GraphOperator, tuple[Tensor, ...]] = {}
    # Every tensor that depends on the input is mapped to the tensor that it was before changes of form, or to itself.
    origin = {network_input: network_input}
    for operator in operators:
        live = tuple(origin[name] for name in operator.reads if name in origin)
        if live:
            reads[operator] = live
            for name in operator.writes:
                producer[name] = operator
                origin[name] = live[0] if operator.kind in TRANSPARENT else name
    if network_output not in origin:
        raise ValueError("the output does not depend on the input")
    readers: defaultdict[Tensor, set[GraphOperator | None]] = defaultdict(set)
    for operator, live in reads.items():
        if operator.kind not in TRANSPARENT:
            for name in live:
                readers[name].add(operator)
    readers[origin[network_output]].add(None)

    found: list[Layer] = []
    place: dict[Tensor, int] = {network_input: INPUT}
    for tensor in _walk(origin[network_output], network_input, producer, reads):
        operator = producer[tensor]
        inputs = tuple(place[name] for name in reads[operator])
        before = found[inputs[0]] if inputs != (INPUT,) and len(inputs) == 1 else None
        if (
            before is not None
            and operator.kind in FOLDABLE
            and before.operator in WEIGHTED
            and readers[before.tensor] == {operator}
        ):
            found[inputs[0]] = replace(before, tensor=tensor)
            place[tensor] = inputs[0]
        else:
            place[tensor] = len(found)
            output = "" if len(operator.writes) == 1 else f":{operator.writes.index(tensor)}"
            found.append(Layer(operator.name + output, operator.kind, tensor, inputs))
    return tuple(found)


def _walk(
    output: Tensor,
    network_input: Tensor,
    producer: dict[Tensor, GraphOperator],
    reads: dict[GraphOperator, tuple[Tensor, ...]],
) -> list[Tensor]:
    """List the tensors in the order in which a walk from the output leaves them.

    The order follows from the structure alone.
    """
    order: list[Tensor] = []
    seen = {network_input}
    stack = [(output, False)]  # not recursive: a network is deeper than Python's stack
    while stack:
        tensor, inputs_done = stack.pop()
        if inputs_done:
            order.append(tensor)
        elif tensor not in seen:
            seen.add(tensor)
            stack.append((tensor, True))
            stack += [(name, False) for name in reversed(reads[producer[tensor]])]
    return order


def match(
    left: Sequence[Layer],
    left_shapes: Sequence[tuple[int, ...]],
    right: Sequence[Layer],
    right_shapes: Sequence[tuple[int, ...]],
) -> Matching:
    """Pair the layers of two exports of one network.

    The two sequences of (operator, shape) are aligned. An aligned pair is kept where both layers also read the same
    pairs, directly or through layers without a counterpart.
    """
    left_tokens, right_tokens = (
        [(_SAME.get(layer.operator, layer.operator), shape) for layer, shape in zip(side, shapes, strict=True)]
        for side, shapes in ((left, left_shapes), (right, right_shapes))
    )
    aligned = {
        block.a + i: block.b + i
        for block in difflib.SequenceMatcher(None, left_tokens, right_tokens, autojunk=False).get_matching_blocks()
        for i in range(block.size)
    }
    kept = {INPUT: INPUT}
    kept_right = {INPUT}
    left_reads: list[frozenset[int]] = []
    right_reads: list[frozenset[int]] = []
    for i, layer in enumerate(left):
        left_reads.append(_paired_inputs(layer, kept.keys(), left_reads))
        if i not in aligned:
            continue
        # The alignment keeps both orders: everything on the right before this one has been decided.
        for other in right[len(right_reads) : aligned[i] + 1]:
            right_reads.append(_paired_inputs(other, kept_right, right_reads))
        if {kept[name] for name in left_reads[i]} == right_reads[aligned[i]]:
            kept[i] = aligned[i]
            kept_right.add(aligned[i])
    pairs = tuple(pair for pair in kept.items() if pair != (INPUT, INPUT))
    return Matching(
        pairs,
        tuple(i for i in range(len(left)) if i not in kept),
        tuple(i for i in range(len(right)) if i not in kept_right),
    )


def _paired_inputs(layer: Layer, paired: Collection[int], reads: Sequence[frozenset[int]]) -> frozenset[int]:
    """Return the nearest layers with a counterpart that a layer reads, directly or through others."""
    return frozenset(found for i in layer.inputs for found in ({i} if i in paired else reads[i]))
