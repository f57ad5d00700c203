"""This module converts to ONNX: tf2onnx makes the graph, and ONNX Runtime's quantizers quantize it."""

from __future__ import annotations

from typing import Any

import numpy as np

from tledge.exporters.format import ANY_BATCH, TRAINS, ConverterInput, Format
from tledge.exporters.onnx_batch import free_batch
from tledge.exporters.onnx_dynamic import quantize_weights
from tledge.exporters.onnx_graph import OPSET, of_function, weights_to_float16
from tledge.exporters.onnx_int8 import OnnxDraft, quantize
from tledge.exporters.onnx_tidy import tidy
from tledge.exporters.preparations import fitted, trained
from tledge.saved_models import load_original

_FILE = "model.onnx"
METADATA_KEY = "tledge"
_LIBRARIES = ("tensorflow", "tf2onnx", "onnx", "onnxruntime", "numpy")


def _signature(model: ConverterInput, name: str) -> Any:
    """Return a signature of the SavedModel as a function from images to probabilities."""
    loaded = load_original(model.saved_model)
    return lambda pixels: loaded.signatures[name](pixels=pixels)["probabilities"]


def _finish(graph: Any, model: ConverterInput) -> bytes:
    """Return the bytes of a graph after it was tidied, given the batch and metadata of ``model``, and checked.

    ``graph``: an ONNX model of batch 1 that was made from ``model``; it changes in place.
    """
    import onnx

    tidy(graph)
    if model.batch == ANY_BATCH:
        free_batch(graph)
        tidy(graph)  # takes out the target shapes that no Reshape reads any more
    del graph.metadata_props[:]
    onnx.helper.set_model_props(graph, {METADATA_KEY: model.metadata})
    graph.producer_name = "tledge"
    onnx.checker.check_model(graph, full_check=True)
    return bytes(graph.SerializeToString(deterministic=True))


def _graph(model: ConverterInput) -> Any:
    return of_function(_signature(model, "serving_default"), model.input_size, "uint8")


def _float32(model: ConverterInput) -> bytes:
    return _finish(_graph(model), model)


def _float16(model: ConverterInput) -> bytes:
    graph = _graph(model)
    weights_to_float16(graph)
    return _finish(graph, model)


def _dynamic(model: ConverterInput) -> bytes:
    return _finish(quantize_weights(_graph(model)), model)


def _int8(model: ConverterInput) -> bytes:
    assert model.calibration_photos is not None
    if model.prepared is None:
        function, calibration_values = _signature(model, "float_pixels"), model.calibration_photos.astype(np.float32)
    else:
        function, calibration_values = (
            model.prepared.probabilities,
            model.prepared.input_codes.real(model.calibration_photos),
        )
    graph = of_function(function, model.input_size, "float32")
    return _finish(quantize(graph, calibration_values, model.prepared, bounds_pairs=model.bounds_pairs), model)


def _mixed(model: ConverterInput) -> Format:
    prepared = model.prepared
    assert prepared is not None
    assert model.calibration_photos is not None
    graph = of_function(prepared.probabilities, model.input_size, "float32")
    draft = OnnxDraft(
        graph, prepared.input_codes.real(model.calibration_photos), prepared, bounds_pairs=model.bounds_pairs
    )
    return _PLAIN_INT8.with_float_operators(draft.float_operators, lambda of: _finish(draft.quantized(), of))


_INT8_OPTIONS = {
    "opset": str(OPSET),
    "weights": "int8, per-channel",
    "activations": "uint8",
    "input": "uint8",
    "output": "float32, after the last DequantizeLinear",
    "form": "static QDQ",
    "ranges": "min-max",
}
_FLOAT_OPTIONS = {"opset": str(OPSET)}
_FLOAT16_OPTIONS = {**_FLOAT_OPTIONS, "weights": "float16, cast to float32 where they are read"}
_DYNAMIC_OPTIONS = {
    **_FLOAT_OPTIONS,
    "weights": "uint8; of convolutions scaled by output channel before, of depthwise ones float32",
    "activations": "uint8, range by photo",
}
_SLOW_DYNAMIC = "ONNX Runtime measures every activation as it runs, which takes longer than float32 does on a CPU"
_RANGE_OF_BATCH = (
    "its activations are measured over the whole batch, so that an answer would depend on the other photos"
)

_PLAIN_INT8 = Format(
    "onnx-int8",
    _FILE,
    "all-integer",
    fitted.PREPARATION,
    _int8,
    _INT8_OPTIONS,
    _LIBRARIES,
    saturates=True,
    purpose="It is for CPUs that run ONNX Runtime, and usually the fastest and smallest ONNX file there.",
    cost="It may lose some accuracy.",
)
FORMATS = (
    Format(
        "onnx-float32",
        _FILE,
        "float32",
        None,
        _float32,
        _FLOAT_OPTIONS,
        _LIBRARIES,
        purpose="It is for ONNX Runtime and other programs that read ONNX, and what their other files are compared with.",
        cost="It has four bytes a weight, and loses nothing.",
    ),
    Format(
        "onnx-float16",
        _FILE,
        "float16 weights",
        None,
        _float16,
        _FLOAT16_OPTIONS,
        _LIBRARIES,
        purpose="It halves the size of the file and of its download.",
        cost="A CPU takes the time and memory of float32.",
    ),
    _PLAIN_INT8,
    Format(
        "onnx-int8-qat",
        _FILE,
        "all-integer",
        trained.PREPARATION,
        _int8,
        _INT8_OPTIONS,
        _LIBRARIES,
        TRAINS,
        saturates=True,
        purpose="It is onnx-int8 for networks that lose too much accuracy there.",
        cost="It trains for some epochs.",
    ),
    Format(
        "onnx-dynamic",
        _FILE,
        "dynamic-range int8",
        None,
        _dynamic,
        _DYNAMIC_OPTIONS,
        _LIBRARIES,
        _SLOW_DYNAMIC,
        one_photo=_RANGE_OF_BATCH,
        purpose="It has the size of int8 and needs no representative data set.",
        cost="A CPU takes longer than for float32.",
    ),
)
MIXED = {"onnx-int8": _mixed}
