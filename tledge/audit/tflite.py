"""This module audits a TFLite file: operators by data type, constants, multiply-accumulates, inputs and outputs."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tledge.audit.findings import INTEGER_TYPES, Interface, count_operators, largest, printable
from tledge.audit.flatbuffer import Subgraph, Tensor, TfliteModel, TfliteOperator, read_tflite
from tledge.audit.macs import Product, granularity, totals
from tledge.errors import ArtifactError
from tledge.records import Audit, TensorRecord

METADATA_NAME = "TLEDGE_METADATA"
RUNTIME_NAME = "min_runtime_version"  # TensorFlow's converter writes this entry.
_VERSION = re.compile(r"\d{1,4}(\.\d{1,4}){1,3}", re.ASCII)
_FLOATS = frozenset({"FLOAT32", "FLOAT16", "FLOAT64", "BFLOAT16", "FLOAT8_E4M3FN", "FLOAT8_E5M2"})
_CONVERSIONS = frozenset({"CAST", "QUANTIZE", "DEQUANTIZE"})
_SUMMING = frozenset({"CONV_2D", "FULLY_CONNECTED"})
# Number of weights from which a layer is large. A smaller layer keeps all its different values: fewer of them would
# not make a compressed file smaller (compression/codes.py).
_LARGE = 2048
_UNPACKING = frozenset({"DEQUANTIZE", "DENSIFY"})
_SMALL_INTEGERS = frozenset({"INT2", "INT4", "UINT4", "INT8", "UINT8"})


@dataclass(frozen=True)
class _Places:
    """These numbers say which inputs of a multiplying operator are data, weights and bias.

    ``channel_axis`` is the axis of the weights that is the output channel.
    """

    data: int
    weights: int
    bias: int
    channel_axis: int


# Layouts: tensorflow/lite/kernels. OHWI for convolutions, 1HWO for depthwise ones, (O, I) for fully connected ones.
_PRODUCTS = {
    "CONV_2D": _Places(0, 1, 2, 0),
    "DEPTHWISE_CONV_2D": _Places(0, 1, 2, 3),
    "FULLY_CONNECTED": _Places(0, 1, 2, 0),
    "TRANSPOSE_CONV": _Places(2, 1, 3, 0),
    "BATCH_MATMUL": _Places(0, 1, 2, -1),
}
# These multiply too, by rules of their own. With one of these the sum is unknown.
_UNCOUNTED = frozenset(
    {"CONV_3D", "CONV_3D_TRANSPOSE", "LSTM", "RNN", "SVDF"}
    | {"UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM"}
    | {"UNIDIRECTIONAL_SEQUENCE_RNN", "BIDIRECTIONAL_SEQUENCE_RNN", "CUSTOM", "DELEGATE", "STABLEHLO_CONVOLUTION"}
    | {"STABLEHLO_DOT_GENERAL", "STABLEHLO_COMPOSITE", "STABLEHLO_CUSTOM_CALL"}
)


def audit_tflite(data: bytes) -> Audit:
    """Audit the bytes of a TFLite model.

    Damaged bytes raise ArtifactError, or any error of the FlatBuffers code that reads them.
    """
    model = read_tflite(data)
    weight_types: Counter[str] = Counter()
    float_constants: Counter[str] = Counter()
    for subgraph in model.subgraphs:
        for tensor in subgraph.tensors:
            weight_types[tensor.data_type] += tensor.num_bytes
            if tensor.data_type in _FLOATS and tensor.num_bytes:
                float_constants[printable(tensor.name)] += tensor.num_bytes
    shared = _interface(model)
    num_macs, integer_share, granularities = totals(_products(model))
    zero_share, most_codes = _codes(model)
    return Audit(
        operators=count_operators(
            _classified(subgraph, operator) for subgraph in model.subgraphs for operator in subgraph.operators
        ),
        weight_types={name: size for name, size in sorted(weight_types.items()) if size},
        inputs=shared.inputs,
        outputs=shared.outputs,
        file_versions={"schema": model.version},
        num_parameters=sum(_num_parameters(subgraph) for subgraph in model.subgraphs),
        num_macs=num_macs,
        integer_mac_share=integer_share,
        weight_granularity=granularities,
        float_constants=largest(float_constants),
        zero_weight_share=zero_share,
        most_weight_codes=most_codes,
        min_runtime_version=_min_runtime_version(model),
    )


def interface_tflite(data: bytes) -> Interface:
    """Read the inputs, the outputs and tledge's own metadata of a TFLite model. Raises as ``audit_tflite`` does."""
    return _interface(read_tflite(data))


def _min_runtime_version(model: TfliteModel) -> str | None:
    """Return the runtime version that the converter declares to be needed. None: it declares no readable version.

    The converter pads the entry with zero bytes.
    """
    text = model.metadata.get(RUNTIME_NAME, b"").rstrip(b"\0").decode(errors="replace")
    return text if _VERSION.fullmatch(text) else None


def _interface(model: TfliteModel) -> Interface:
    main = model.subgraphs[0]
    return Interface(
        inputs=[_record(main.tensors[number]) for number in main.inputs],
        outputs=[_record(main.tensors[number]) for number in main.outputs],
        metadata=model.metadata.get(METADATA_NAME),
    )


def _classified(subgraph: Subgraph, operator: TfliteOperator) -> tuple[str, str, str]:
    """Return the name, the kind and the data type of an operator."""
    if operator.name == "CUSTOM":
        custom = printable(operator.custom_code)
        return custom, "flex" if custom.startswith("Flex") else "custom", "custom"
    read_ = [subgraph.tensors[number] for number in operator.inputs if number >= 0]
    written = [subgraph.tensors[number].data_type for number in operator.outputs]
    constants = {tensor.data_type for tensor in read_ if tensor.num_bytes}
    activations = [tensor.data_type for tensor in read_ if not tensor.num_bytes]
    kind = _kind(operator.name, activations, constants, written)
    return operator.name, kind, _data_type(activations, constants, written)


def _kind(name: str, activations: list[str], constants: set[str], written: list[str]) -> str:
    every = {*activations, *constants, *written}
    if every <= INTEGER_TYPES:
        return "integer"
    if name in _CONVERSIONS:
        # Unpacking a float16 constant, or the pixel byte to float, computes nothing;
        # between float and integer activations it means that a float operator stands next to it.
        return "boundary" if not activations or name == "CAST" else "float"
    moving = {*activations, *written}
    return "hybrid" if moving & _FLOATS and constants & _SMALL_INTEGERS else "float"


def _data_type(activations: list[str], constants: set[str], written: list[str]) -> str:
    read_ = sorted(set(activations)) or sorted(constants)
    weights = sorted(constants - set(read_))
    return f"{'+'.join(read_)}{' with ' + '+'.join(weights) if weights else ''} to {'+'.join(sorted(set(written)))}".lower()


def _sources(subgraph: Subgraph) -> dict[int, int]:
    """Map every constant, and every tensor that only unpacks one (float16 weights), to the number of that constant."""
    found = {number: number for number, tensor in enumerate(subgraph.tensors) if tensor.num_bytes}
    for operator in subgraph.operators:
        if operator.name in _UNPACKING and operator.inputs[0] in found:
            found[operator.outputs[0]] = found[operator.inputs[0]]
    return found


def _num_parameters(subgraph: Subgraph) -> int:
    """Count the elements of the weights and biases of a subgraph.

    Weights and biases are those of multiplying operators, and every other float or quantized constant of more than
    one element. A lone number is a factor of the graph, such as the 1/255 of the pixels, and no parameter.

    A weight counts once, however many operators read it. A bias counts once for each operator: converters store
    equal biases, such as zeros, as one tensor, and quantization separates them again.
    """
    sources = _sources(subgraph)
    parameters: set[tuple[int, int | None]] = set()
    for index, operator in enumerate(subgraph.operators):
        if operator.name in _UNPACKING:
            continue  # what it unpacks counts where it is used
        places = _PRODUCTS.get(operator.name)
        for place, number in enumerate(operator.inputs):
            if number not in sources:
                continue
            tensor = subgraph.tensors[sources[number]]
            multiplies = places is not None and place in (places.weights, places.bias, places.data)
            holds_values = tensor.data_type in _FLOATS or bool(tensor.scales)
            if multiplies or (holds_values and tensor.num_elements > 1):
                is_bias = places is not None and place == places.bias
                parameters.add((sources[number], index if is_bias else None))
    return sum(subgraph.tensors[number].num_elements for number, _ in parameters)


def _products(model: TfliteModel) -> Iterator[Product]:
    for number, subgraph in enumerate(model.subgraphs):
        sources = _sources(subgraph)
        for operator in subgraph.operators:
            if operator.name in _UNCOUNTED:
                yield Product(None, is_integer=False, granularity=None)
            elif operator.name in _PRODUCTS:
                _, kind, _ = _classified(subgraph, operator)
                read_from = _input(operator, _PRODUCTS[operator.name].weights)
                weights = subgraph.tensors[sources.get(read_from, read_from)]
                found = None
                if weights.scales and weights.num_bytes:
                    channels = weights.shape[_PRODUCTS[operator.name].channel_axis] if weights.shape else 1
                    found = granularity(len(weights.scales), channels)
                # Another subgraph is a branch, a loop or a second entry: how often it runs is not in the file.
                macs = _macs(subgraph, operator, weights) if number == 0 else None
                yield Product(macs, kind == "integer", found)


def _codes(model: TfliteModel) -> tuple[float | None, int | None]:
    """Return the share of zeros, and the largest number of different values, of the int8 weights of layers.

    Only layers that sum over channels (CONV_2D, FULLY_CONNECTED) are looked at. For the second number only layers of
    at least 2,048 weights count. Layers of equal weights count each, although converters store these once. Each
    number is None where no layer counts.
    """
    histograms: list[npt.NDArray[np.int64]] = []
    for subgraph in model.subgraphs:
        sources = _sources(subgraph)
        for operator in subgraph.operators:
            if operator.name in _SUMMING:
                read_from = _input(operator, _PRODUCTS[operator.name].weights)
                weights = subgraph.tensors[sources.get(read_from, read_from)]
                if weights.data_type == "INT8" and weights.num_bytes:
                    histograms.append(np.bincount(weights.data, minlength=256))
    total = sum(int(counts.sum()) for counts in histograms)
    large = [int(np.count_nonzero(counts)) for counts in histograms if counts.sum() >= _LARGE]
    zeros = sum(int(counts[0]) for counts in histograms)
    return zeros / total if total else None, max(large, default=None)


def _input(operator: TfliteOperator, place: int) -> int:
    if place >= len(operator.inputs) or operator.inputs[place] < 0 or not operator.outputs:
        raise ArtifactError(f"{operator.name} lacks an input or output that it can't do without")
    return operator.inputs[place]


def _macs(subgraph: Subgraph, operator: TfliteOperator, weights: Tensor) -> int | None:
    """Count the multiply-accumulates of one run of an operator. None: a shape is known only when it runs."""
    places = _PRODUCTS[operator.name]
    data = subgraph.tensors[_input(operator, places.data)]
    result = subgraph.tensors[operator.outputs[0]]
    if not all(tensor.is_fixed and tensor.shape for tensor in (data, result, weights)):
        return None
    if operator.name == "BATCH_MATMUL":
        inner = data.shape[-2 if operator.transposes_first and len(data.shape) > 1 else -1]
        return result.num_elements * inner
    if len(weights.shape) != (2 if operator.name == "FULLY_CONNECTED" else 4):
        raise ArtifactError(f"{operator.name} has weights {printable(weights.name)} of shape {list(weights.shape)}")
    if operator.name == "TRANSPOSE_CONV":  # every input element meets the kernels of every output channel
        return data.num_elements * math.prod(weights.shape[:3])
    one_output = [size for axis, size in enumerate(weights.shape) if axis != places.channel_axis]
    return result.num_elements * math.prod(one_output)


def _record(tensor: Tensor) -> TensorRecord:
    scaled = len(tensor.scales) == 1
    return TensorRecord(
        name=printable(tensor.name),
        shape=list(tensor.shape),
        data_type=tensor.data_type,
        scale=tensor.scales[0] if scaled else None,
        zero_point=tensor.zero_points[0] if scaled else None,
    )
