"""This module quantizes an ONNX graph statically to QDQ int8, by ONNX Runtime's quantizer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.compression import FEW_PHOTOS, PreparedNetwork, named_by_value
from tledge.errors import PromiseBroken
from tledge.exporters.mixed import float_operators
from tledge.exporters.onnx_graph import (
    INPUT,
    OUTPUT,
    batch_normalizations_to_convolutions,
    paddings_to_convolutions,
    quantizable,
    subtractions_to_additions,
)
from tledge.exporters.onnx_pairs import bound_pairs
from tledge.files import temporary_folder

Floats = npt.NDArray[np.float32]


class OnnxDraft:
    """An ``OnnxDraft`` is a float graph that is ready for ONNX Runtime's quantizer, with the settings for it.

    ``float_operators``: how many operators stay float, by the operator's name. They follow from ``prepared.float_layers``.
    """

    def __init__(
        self,
        graph: Any,
        calibration_values: Floats,
        prepared: PreparedNetwork | None = None,
        *,
        bounds_pairs: bool = False,
    ) -> None:
        """Prepare a float graph for the quantizer.

        Args:
            graph: An ONNX model that takes float32 (1, S, S, 3). It changes in place.
            calibration_values: The representative data set as the graph takes it, float32 (N, S, S, 3). Its range becomes the
                range of the quantized input.
            prepared: The network that the graph was made from. Its ranges are used for every tensor that holds the output
                of one of its layers. None leaves all ranges to the quantizer.
            bounds_pairs: Whether the products of every pair of int8 weights have to fit into 16 bits, as in ``prepared``.
        """
        subtractions_to_additions(graph)
        batch_normalizations_to_convolutions(graph)
        paddings_to_convolutions(graph)
        self._calibration_values, self._prepared = calibration_values, prepared
        self._ready = quantizable(graph)
        names: dict[str, list[str]] = {}
        self._ranges: dict[str, list[dict[str, Any]]] = {}
        self._of_few: set[str] = set()  # a few photos give these tensors the range that all photos give
        if prepared is not None:
            values = _values(self._ready, calibration_values[:1])
            names = named_by_value(values, prepared.outputs(calibration_values[:1]))
            self._ranges = _ranges(names, prepared)
            self._of_few = {
                *self._ranges,
                *named_by_value(values, {INPUT: calibration_values[:1]}),
                f"{OUTPUT}_QuantizeLinear_Input",
            }
        self._float_nodes: list[str] = []
        self.float_operators: dict[str, int] = {}
        if prepared is not None and prepared.float_layers:
            nodes = self._ready.graph.node
            edges = [(list(node.input), list(node.output)) for node in nodes]
            chosen = [nodes[place] for place in float_operators(edges, names, prepared.float_layers)]
            self._float_nodes = [node.name for node in chosen]
            self.float_operators = dict(sorted(Counter(node.op_type for node in chosen).items()))
        self._scales = bound_pairs(self._ready, self._float_nodes) if bounds_pairs else {}

    def quantized(self) -> Any:
        """Return the quantized model: uint8 activations, per-channel int8 weights, and uint8 pixels as its input."""
        if self._prepared is not None:
            made = self._calibrated_on(self._calibration_values[:FEW_PHOTOS])
            if {node.input[0] for node in made.graph.node if node.op_type == "QuantizeLinear"} <= self._of_few:
                return made
        return self._calibrated_on(self._calibration_values)

    def _calibrated_on(self, calibration_values: Floats) -> Any:
        import onnx
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

        with temporary_folder() as folder:
            ready, quantized = (Path(folder, f"{stage}.onnx") for stage in ("ready", "quantized"))
            onnx.save(self._ready, ready)
            quantize_static(
                str(ready),
                str(quantized),
                _CalibrationReader(list(calibration_values)),
                quant_format=QuantFormat.QDQ,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                per_channel=True,
                nodes_to_exclude=self._float_nodes,
                extra_options={
                    "TensorQuantOverrides": {**self._ranges, **self._scales},
                    "ForceQuantizeNoInputCheck": True,  # otherwise the input is quantized only after its transposition
                },
            )
            made = onnx.load(quantized)
        _take_codes(made, self._prepared if self._float_nodes else None)
        return made


def quantize(
    graph: Any, calibration_values: Floats, prepared: PreparedNetwork | None = None, *, bounds_pairs: bool = False
) -> Any:
    """Quantize a float graph at once, with the arguments of :class:`OnnxDraft`."""
    return OnnxDraft(graph, calibration_values, prepared, bounds_pairs=bounds_pairs).quantized()


def _ranges(named: Mapping[str, Sequence[str]], prepared: PreparedNetwork) -> dict[str, list[dict[str, Any]]]:
    """Return the ranges of ``prepared`` in the format of ONNX Runtime's quantizer (``TensorQuantOverrides``).

    ``named``: the names of the layers whose output a tensor holds, by the tensor. The ranges come by the tensor too.
    """
    prepared.require_all(named.values())
    ranges = {tensor: prepared.range_of(names) for tensor, names in named.items()}
    return {
        tensor: [{"rmin": np.array(reach[0], np.float32), "rmax": np.array(reach[1], np.float32)}]
        for tensor, reach in ranges.items()
        if reach is not None
    }


def _values(graph: Any, image: Floats) -> dict[str, Floats]:
    """Run a graph on one image, and return the values of every float tensor by its name."""
    import onnx
    import onnxruntime

    model = onnx.shape_inference.infer_shapes(graph)
    is_float = {
        value.name: value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        for value in (*model.graph.value_info, *model.graph.output)
    }
    last = {value.name for value in model.graph.output}
    names = [name for node in model.graph.node for name in node.output if is_float.get(name)]
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names if name not in last)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip(names, session.run(names, {INPUT: image}), strict=True))


class _CalibrationReader:
    """This class gives representative data by ONNX Runtime's protocol: one photo a call, then None."""

    def __init__(self, photos: Sequence[Floats]) -> None:
        self._photos = iter(photos)

    def get_next(self) -> dict[str, Any] | None:
        photo = next(self._photos, None)
        return None if photo is None else {INPUT: photo[None]}


def _take_codes(model: Any, prepared: PreparedNetwork | None) -> None:
    """Let a graph take the quantized values of its input, uint8 pixels, and remove the QuantizeLinear that made them.

    ``prepared``: the network, where it has float layers, else None. Where float layers alone read the input, the graph has no
    QuantizeLinear on it. It gets a DequantizeLinear instead. Raises PromiseBroken where no operator reads the input.
    """
    from onnx import TensorProto

    graph = model.graph
    if not any(INPUT in node.input for node in graph.node):
        raise PromiseBroken(
            "this network answers the same for every photo: no operator reads the pixels. Nothing was written. "
            "Build with another backbone."
        )
    quantizers = [node for node in graph.node if node.op_type == "QuantizeLinear" and node.input[0] == INPUT]
    if prepared is not None and not quantizers:
        _dequantize_input(graph, prepared)
        graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
        return
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


def _dequantize_input(graph: Any, prepared: PreparedNetwork) -> None:
    """Put a DequantizeLinear between the quantized values of the input and the operators that read the input as float."""
    from onnx import helper, numpy_helper

    codes, values = prepared.input_codes, f"{INPUT}/values"
    scale = numpy_helper.from_array(np.array(codes.scale, np.float32), f"{INPUT}/scale")
    zero_point = numpy_helper.from_array(np.array(codes.zero_point, np.uint8), f"{INPUT}/zero_point")
    for node in graph.node:
        node.input[:] = [values if name == INPUT else name for name in node.input]
    graph.initializer.extend([scale, zero_point])
    reader = helper.make_node("DequantizeLinear", [INPUT, scale.name, zero_point.name], [values], "input_to_float")
    graph.node.insert(0, reader)
