"""TensorFlow Lite by TensorFlow's own converter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tledge.exporters import FITTED, PRUNED, TRAINED, Format, Model, tflite_prepared

_FILE = "model.tflite"
METADATA_NAME = "TLEDGE_METADATA"
_LIBRARIES = ("tensorflow", "ai-edge-litert", "numpy")


def _converter(model: Model, signature: str) -> tuple[Any, Any]:
    """A converter for batch 1 of one signature, probabilities only; and TensorFlow."""
    from tledge.tensorflow_setup import tensorflow

    tf = tensorflow()
    loaded = tf.saved_model.load(str(model.saved_model))
    dtype = tf.uint8 if signature == "serving_default" else tf.float32
    shape = [1, model.input_size, model.input_size, 3]

    @tf.function(input_signature=[tf.TensorSpec(shape, dtype, name="pixels")])  # type: ignore[untyped-decorator]
    def probabilities(pixels: Any) -> Any:
        return tf.identity(loaded.signatures[signature](pixels=pixels)["probabilities"], name="probabilities")

    converter = tf.lite.TFLiteConverter.from_concrete_functions([probabilities.get_concrete_function()], loaded)
    return converter, tf


def _float32(model: Model) -> bytes:
    converter, _ = _converter(model, "serving_default")
    return _with_metadata(converter.convert(), model.metadata)


def _float16(model: Model) -> bytes:
    converter, tf = _converter(model, "serving_default")
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    return _with_metadata(converter.convert(), model.metadata)


def _dynamic(model: Model) -> bytes:
    converter, tf = _converter(model, "serving_default")
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return _with_metadata(converter.convert(), model.metadata)


def _int8(model: Model) -> bytes:
    photos = model.calibration
    assert photos is not None
    if model.prepared is not None:
        return _with_metadata(tflite_prepared.convert(model.prepared, model.input_size, photos), model.metadata)
    converter, tf = _converter(model, "float_pixels")

    def representative_data() -> Iterator[list[Any]]:
        for photo in photos:
            yield [photo[None].astype(np.float32)]

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative_data
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.uint8
    converter.inference_output_type = tf.uint8
    return _with_metadata(converter.convert(), model.metadata)


def _with_metadata(flatbuffer: bytes, metadata: str) -> bytes:
    """The same model with a named metadata buffer; the converter adds its own record in the same way."""
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(flatbuffer))
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(metadata.encode(), np.uint8)
    entry = schema.MetadataT()
    entry.name, entry.buffer = METADATA_NAME, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


_INT8_OPTIONS = {
    "weights": "int8, per-channel",
    "activations": "int8",
    "input": "uint8",
    "output": "uint8",
    "ranges": "min-max",
}
_INT8 = {"tflite-int8": FITTED, "tflite-int8-qat": TRAINED, "tflite-int8-pruned": PRUNED}

FORMATS = (
    Format("tflite-float32", _FILE, "float32", None, _float32, {"optimizations": "none"}, _LIBRARIES),
    Format("tflite-float16", _FILE, "float16 weights", None, _float16, {"weights": "float16"}, _LIBRARIES),
    Format("tflite-dynamic", _FILE, "dynamic-range int8", None, _dynamic, {"weights": "int8"}, _LIBRARIES),
    *(
        Format(name, _FILE, "all-integer", preparation, _int8, _INT8_OPTIONS, _LIBRARIES)
        for name, preparation in _INT8.items()
    ),
)
