"""ONNX: tf2onnx for the graph, ONNX Runtime's static quantizer for QDQ int8."""

from __future__ import annotations

from typing import Any

import numpy as np

from tledge.exporters import FITTED, TRAINED, Format, Model
from tledge.exporters.onnx_graph import OPSET, of_function
from tledge.exporters.onnx_int8 import quantize

_FILE = "model.onnx"
METADATA_KEY = "tledge"
_LIBRARIES = ("tensorflow", "tf2onnx", "onnx", "onnxruntime", "numpy")


def _signature(model: Model, name: str) -> Any:
    """A function of the SavedModel: images to probabilities."""
    from tledge.tensorflow_setup import tensorflow

    loaded = tensorflow().saved_model.load(str(model.saved_model))
    return lambda pixels: loaded.signatures[name](pixels=pixels)["probabilities"]


def _finish(model: Any, metadata: str) -> bytes:
    import onnx

    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {METADATA_KEY: metadata})
    model.producer_name = "tledge"
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def _float32(model: Model) -> bytes:
    return _finish(of_function(_signature(model, "serving_default"), model.input_size, "uint8"), model.metadata)


def _int8(model: Model) -> bytes:
    assert model.calibration is not None
    if model.prepared is None:
        function, images = _signature(model, "float_pixels"), model.calibration.astype(np.float32)
    else:
        function, images = model.prepared.probabilities, model.prepared.input_codes.real(model.calibration)
    graph = of_function(function, model.input_size, "float32")
    return _finish(quantize(graph, images, model.prepared), model.metadata)


_INT8_OPTIONS = {
    "opset": str(OPSET),
    "weights": "int8, per-channel",
    "activations": "uint8",
    "input": "uint8",
    "output": "float32, after the last DequantizeLinear",
    "form": "static QDQ",
    "ranges": "min-max",
}

FORMATS = (
    Format("onnx-float32", _FILE, "float32", None, _float32, {"opset": str(OPSET)}, _LIBRARIES),
    *(
        Format(name, _FILE, "all-integer", preparation, _int8, _INT8_OPTIONS, _LIBRARIES)
        for name, preparation in {"onnx-int8": FITTED, "onnx-int8-qat": TRAINED}.items()
    ),
)
