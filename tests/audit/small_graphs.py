"""ONNX models of a few operators, and TFLite models of one, for tests that count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

TYPES = {"float": TensorProto.FLOAT, "uint8": TensorProto.UINT8, "int32": TensorProto.INT32}


def onnx_model(
    nodes: list[Any],
    inputs: dict[str, list[int | str]],
    constants: dict[str, np.ndarray],
    *,
    input_type: str = "float",
    output: str = "out",
    output_type: str = "float",
    output_shape: list[int] | None = None,
) -> bytes:
    """A model of these nodes; the shape of its output is not declared unless given."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, TYPES[input_type], shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(output, TYPES[output_type], output_shape)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def floats(*shape: int) -> np.ndarray:
    """float32 of this shape, the same ones every time."""
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def codes(*shape: int) -> np.ndarray:
    """int8 of this shape, the same ones every time."""
    return np.random.default_rng(0).integers(-127, 128, shape).astype(np.int8)


def qdq_conv(*, scales: int = 4, channels: int = 4, extra: dict[str, np.ndarray] | None = None) -> bytes:
    """A QDQ convolution of uint8 (1, 3, 8, 8) by ``channels`` kernels of 3 x 3 with so many scales."""
    scale = np.full(scales, 0.02, np.float32) if scales > 1 else np.float32(0.02)
    nodes = [
        helper.make_node("DequantizeLinear", ["pixels", "one", "zero"], ["real"]),
        helper.make_node("DequantizeLinear", ["w", "w_scale"], ["weights"], axis=0),
        helper.make_node("Conv", ["real", "weights"], ["sum"]),
        helper.make_node("QuantizeLinear", ["sum", "one", "zero"], ["sum_codes"]),
        helper.make_node("DequantizeLinear", ["sum_codes", "one", "zero"], ["out"]),
    ]
    constants = {
        "one": np.array(1, np.float32), "zero": np.array(0, np.uint8),
        "w": codes(channels, 3, 3, 3), "w_scale": np.asarray(scale, np.float32), **(extra or {}),
    }  # fmt: skip
    return onnx_model(nodes, {"pixels": [1, 3, 8, 8]}, constants, input_type="uint8")


def tflite_of(function: Callable[..., Any], *shapes: tuple[int | None, ...]) -> bytes:
    """One function of float32 tensors of these shapes by TensorFlow's own converter."""
    from tledge.tensorflow_setup import tensorflow

    tf = tensorflow()
    specs = [tf.TensorSpec(shape, tf.float32) for shape in shapes]
    concrete = tf.function(function, input_signature=specs, autograph=False).get_concrete_function()
    return bytes(tf.lite.TFLiteConverter.from_concrete_functions([concrete], tf.Module()).convert())
