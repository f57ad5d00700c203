"""This module converts to TensorFlow Lite by TensorFlow's own converter."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from tledge.audit.tflite import RUNTIME_NAME
from tledge.compression import PreparedNetwork
from tledge.exporters import tflite_prepared
from tledge.exporters.float16 import require_unclipped
from tledge.exporters.format import TRAINS, ConverterInput, Format
from tledge.exporters.preparations import clustered, fitted, fitted_weights, pruned, pruned_clustered, trained
from tledge.exporters.tflite_names import name_tensors
from tledge.records import Promise
from tledge.saved_models import load_original

_FILE = "model.tflite"
METADATA_NAME = "TLEDGE_METADATA"
_VERSION_BYTES = 16  # the length of the record in which TensorFlow's converter writes the oldest runtime
# TensorFlow's int16 quantizer leaves the float graph's version, 1.6. The int16 kernels came with 2.3, or 2.4 for ADD and MEAN.
_INT16_RUNTIME = "2.4.0"
_LIBRARIES = ("tensorflow", "ai-edge-litert", "numpy")


def _converter(model: ConverterInput, signature: str) -> tuple[Any, Any]:
    """Return a converter of one signature of the SavedModel, and the TensorFlow module.

    The converted model has batch 1 and gives probabilities only.
    """
    from tledge.tensorflow_setup import tensorflow

    tf = tensorflow()
    loaded = load_original(model.saved_model)
    dtype = tf.uint8 if signature == "serving_default" else tf.float32
    shape = [1, model.input_size, model.input_size, 3]

    @tf.function(input_signature=[tf.TensorSpec(shape, dtype, name="pixels")])  # type: ignore[untyped-decorator]
    def probabilities(pixels: Any) -> Any:
        return tf.identity(loaded.signatures[signature](pixels=pixels)["probabilities"], name="probabilities")

    converter = tf.lite.TFLiteConverter.from_concrete_functions([probabilities.get_concrete_function()], loaded)
    return converter, tf


def _float32(model: ConverterInput) -> bytes:
    converter, _ = _converter(model, "serving_default")
    return _finished(converter.convert(), model.metadata)


def _float16(model: ConverterInput) -> bytes:
    converter, tf = _converter(model, "serving_default")
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    made = _finished(converter.convert(), model.metadata)
    require_unclipped(made)
    return made


def _dynamic(model: ConverterInput) -> bytes:
    converter, tf = _converter(model, "serving_default")
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    # Only runtimes from 2.17 on know a dense layer with per-channel scales. The last tflite-runtime is 2.14.
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    return _finished(converter.convert(), model.metadata)


def _int8(model: ConverterInput) -> bytes:
    calibration_photos = model.calibration_photos
    assert calibration_photos is not None
    if model.prepared is not None:
        return _finished(
            tflite_prepared.convert_prepared(model.prepared, model.input_size, calibration_photos), model.metadata
        )
    converter, tf = _converter(model, "float_pixels")

    def representative_data() -> Iterator[list[Any]]:
        for photo in calibration_photos:
            yield [photo[None].astype(np.float32)]

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative_data
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.uint8
    converter.inference_output_type = tf.uint8
    return _finished(converter.convert(), model.metadata)


def _mixed(model: ConverterInput) -> Format:
    assert model.prepared is not None
    assert model.calibration_photos is not None
    draft = tflite_prepared.TfliteDraft(model.prepared, model.input_size, model.calibration_photos)
    return _PLAIN_INT8.with_float_operators(draft.float_operators, lambda of: _finished(draft.quantized(), of.metadata))


def _int16x8(model: ConverterInput) -> bytes:
    calibration_photos = model.calibration_photos
    assert calibration_photos is not None
    prepared = model.prepared
    converter, tf = (
        _converter(model, "serving_default") if prepared is None else _of_prepared(prepared, model.input_size)
    )

    def representative_data() -> Iterator[list[Any]]:
        for photo in calibration_photos:
            yield [photo[None]]

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative_data
    converter.target_spec.supported_ops = [
        tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
        tf.lite.OpsSet.TFLITE_BUILTINS,  # no int16 kernel casts the pixels; the audit checks that all else is int16
    ]
    return _finished(converter.convert(), model.metadata, _INT16_RUNTIME)


def _of_prepared(prepared: PreparedNetwork, input_size: int) -> tuple[Any, Any]:
    """Return a converter of a prepared network, and the TensorFlow module.

    The converted model takes uint8 pixels (1, S, S, 3) and gives probabilities.
    """
    from tledge.tensorflow_setup import tensorflow

    tf = tensorflow()
    codes = prepared.input_codes

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[tf.TensorSpec([1, input_size, input_size, 3], tf.uint8, name="pixels")], autograph=False
    )
    def probabilities(pixels: Any) -> Any:
        values = (tf.cast(pixels, tf.float32) - codes.zero_point) * codes.scale
        return tf.identity(prepared.probabilities(values), name="probabilities")

    return tflite_prepared.converter_of(probabilities.get_concrete_function()), tf


def _finished(flatbuffer: bytes, metadata: str, oldest_runtime: str = "") -> bytes:
    """Give the tensors of a converted model unique names, and add tledge's metadata to it.

    The metadata is a named buffer, as are the records that the converter adds. ``oldest_runtime``: the version that replaces
    the one in the converter's record; the record stays where it is empty. Returns the bytes of the model.
    """
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(flatbuffer))
    name_tensors(model)
    if oldest_runtime:
        (number,) = [entry.buffer for entry in model.metadata if entry.name == RUNTIME_NAME.encode()]
        model.buffers[number].data = np.frombuffer(oldest_runtime.encode().ljust(_VERSION_BYTES, b"\0"), np.uint8)
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
_TRAINED_INT8 = {
    "tflite-int8-qat": (trained.PREPARATION, "It is tflite-int8 for networks that lose too much accuracy there."),
    "tflite-int8-pruned": (pruned.PREPARATION, "It is int8 that compresses better: a share of the weights is zero."),
    "tflite-int8-clustered": (
        clustered.PREPARATION,
        "It is int8 that compresses better: a layer has few different weights.",
    ),
    "tflite-int8-pruned-clustered": (
        pruned_clustered.PREPARATION,
        "It is int8 that compresses best: pruned and clustered.",
    ),
}
_TRAINING = "It trains for some epochs"
_INT16X8: Promise = "int16 activations, int8 weights"
_INT16X8_OPTIONS = {
    "weights": "int8, per-channel",
    "activations": "int16",
    "input": "uint8",
    "output": "float32",
    "ranges": "min-max",
}
_DYNAMIC_OPTIONS = {"weights": "int8; one scale for all channels of a dense layer"}
_SLOW_INT16 = (
    "LiteRT computes int16 activations by plain loops on a CPU, slower than float32, and it is meant for accelerators"
)

_format = partial(
    Format, one_photo="a TFLite file is made for one photo; resize_tensor_input of its interpreter changes that"
)
_PLAIN_INT8 = _format(
    "tflite-int8",
    _FILE,
    "all-integer",
    fitted.PREPARATION,
    _int8,
    _INT8_OPTIONS,
    _LIBRARIES,
    purpose="It is for CPUs, microcontrollers and accelerators of integers, and usually the fastest and smallest file.",
    cost="It may lose some accuracy.",
)
FORMATS = (
    _format(
        "tflite-float32",
        _FILE,
        "float32",
        None,
        _float32,
        {"optimizations": "none"},
        _LIBRARIES,
        purpose="It is for phones and boards that compute floats, and what their other files are compared with.",
        cost="It has four bytes a weight, and loses nothing.",
    ),
    _format(
        "tflite-float16",
        _FILE,
        "float16 weights",
        None,
        _float16,
        {"weights": "float16"},
        _LIBRARIES,
        purpose="It halves the size of the file and of its download.",
        cost="A CPU takes the time and memory of float32.",
    ),
    _format(
        "tflite-dynamic",
        _FILE,
        "dynamic-range int8",
        None,
        _dynamic,
        _DYNAMIC_OPTIONS,
        _LIBRARIES,
        purpose="It has the size of int8 and needs no representative data set.",
        cost="A CPU takes longer than for float32.",
    ),
    _PLAIN_INT8,
    *(
        _format(
            name,
            _FILE,
            "all-integer",
            preparation,
            _int8,
            _INT8_OPTIONS,
            _LIBRARIES,
            TRAINS,
            purpose=purpose,
            cost=f"{_TRAINING}." if preparation is trained.PREPARATION else f"{_TRAINING}, and may lose accuracy.",
        )
        for name, (preparation, purpose) in _TRAINED_INT8.items()
    ),
    _format(
        "tflite-int16x8",
        _FILE,
        _INT16X8,
        fitted_weights.PREPARATION,
        _int16x8,
        _INT16X8_OPTIONS,
        _LIBRARIES,
        _SLOW_INT16,
        purpose="It is for accelerators with 16-bit activations, and networks whose activations 8 bits can't represent.",
        cost="A CPU takes many times as long as for float32.",
    ),
)
MIXED = {"tflite-int8": _mixed}
