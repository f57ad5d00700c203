"""Static quantization of an ONNX graph to QDQ int8 by ONNX Runtime's quantizer."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.compression import Prepared, named_by_value
from tledge.exporters.onnx_graph import INPUT, batch_normalizations_to_convolutions, subtractions_to_additions

Floats = npt.NDArray[np.float32]


def quantize(graph: Any, images: Floats, prepared: Prepared | None = None) -> Any:
    """The same model with uint8 activations and int8 weights, per channel, that takes the codes of its input.

    ``graph``: float32 (1, S, S, 3) in, and it changes. ``images``: representative values of its input, float32
    (N, S, S, 3), whose range becomes that of the codes. ``prepared``: the network that the graph was made from, whose
    ranges are taken where a tensor holds the output of one of its layers.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    subtractions_to_additions(graph)
    batch_normalizations_to_convolutions(graph)
    with tempfile.TemporaryDirectory(prefix="tledge-") as folder:
        plain, ready, quantized = (Path(folder, f"{stage}.onnx") for stage in ("plain", "ready", "quantized"))
        onnx.save(graph, plain)
        # Symbolic shape inference wants another package, and every shape here is fixed.
        quant_pre_process(str(plain), str(ready), skip_symbolic_shape=True)
        quantize_static(
            str(ready),
            str(quantized),
            _CalibrationReader(list(images)),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            extra_options={
                "TensorQuantOverrides": {} if prepared is None else _ranges(ready, images[:1], prepared),
                "ForceQuantizeNoInputCheck": True,  # else codes begin behind the transposition of the input
            },
        )
        made = onnx.load(quantized)
    _take_codes(made)
    return made


def _ranges(path: Path, image: Floats, prepared: Prepared) -> dict[str, list[dict[str, Any]]]:
    """The ranges of ``prepared`` in the words of ONNX Runtime's quantizer, by the tensors of the graph."""
    named = named_by_value(_values(path, image), prepared.outputs(image))
    prepared.require_all(named.values())
    ranges = {tensor: prepared.range_of(names) for tensor, names in named.items()}
    return {
        tensor: [{"rmin": np.array(reach[0], np.float32), "rmax": np.array(reach[1], np.float32)}]
        for tensor, reach in ranges.items()
        if reach is not None
    }


def _values(path: Path, image: Floats) -> dict[str, Floats]:
    """What every float tensor of a graph holds on one image."""
    import onnx
    import onnxruntime

    model = onnx.shape_inference.infer_shapes(onnx.load(path))
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
    """ONNX Runtime's protocol for representative data: one photo a call, then None."""

    def __init__(self, photos: Sequence[Floats]) -> None:
        self._photos = iter(photos)

    def get_next(self) -> dict[str, Any] | None:
        photo = next(self._photos, None)
        return None if photo is None else {INPUT: photo[None]}


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
