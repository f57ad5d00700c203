"""int8 as the documentation of TensorFlow and of ONNX Runtime writes it, with nothing of tledge in it but the photos.

What tledge's own int8 is held against: the same trained model, the same representative photos.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]


def tflite(saved_model: Path, photos: Pixels) -> bytes:
    """TFLiteConverter's full-integer recipe: uint8 (1, S, S, 3) to uint8 probabilities. ``photos``: uint8 (N, S, S, 3)."""
    import tensorflow as tf

    loaded, size = tf.saved_model.load(str(saved_model)), photos.shape[1]

    @tf.function(input_signature=[tf.TensorSpec([1, size, size, 3], tf.float32, name="pixels")])
    def probabilities(pixels: Any) -> Any:
        return loaded.signatures["float_pixels"](pixels=pixels)["probabilities"]

    def representative_data() -> Iterator[list[Any]]:
        for photo in photos:
            yield [photo[None].astype(np.float32)]

    converter = tf.lite.TFLiteConverter.from_concrete_functions([probabilities.get_concrete_function()], loaded)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative_data
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.uint8
    return bytes(converter.convert())


def onnx(saved_model: Path, photos: Pixels) -> bytes:
    """tf2onnx, then ``quantize_static``: QDQ, uint8 activations, int8 weights per channel; float32 (1, S, S, 3) in."""
    import onnx as onnx_library
    import tensorflow as tf
    import tf2onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    loaded, size = tf.saved_model.load(str(saved_model)), photos.shape[1]
    spec = tf.TensorSpec([1, size, size, 3], tf.float32, name="pixels")
    traced = tf.function(lambda pixels: loaded.signatures["float_pixels"](pixels=pixels)["probabilities"], [spec])
    frozen = convert_variables_to_constants_v2(traced.get_concrete_function())
    (taken,), (given,) = frozen.inputs, frozen.outputs
    graph, _ = tf2onnx.convert.from_graph_def(
        frozen.graph.as_graph_def(), input_names=[taken.name], output_names=[given.name], opset=17
    )

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._photos = iter(photos)

        def get_next(self) -> dict[str, Any] | None:
            photo = next(self._photos, None)
            return None if photo is None else {graph.graph.input[0].name: photo[None].astype(np.float32)}

    with tempfile.TemporaryDirectory(prefix="tledge-benchmark-") as folder:
        plain, ready, made = (str(Path(folder, f"{name}.onnx")) for name in ("plain", "ready", "made"))
        onnx_library.save(graph, plain)
        quant_pre_process(plain, ready, skip_symbolic_shape=True)
        quantize_static(
            ready, made, Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )  # fmt: skip
        return Path(made).read_bytes()
