"""Multiply-accumulates, parameters and granularity: figures worked out by hand, and the published ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from small_models import int8_tflite, rewrite_onnx, rewrite_tflite, tflite

from audit.small_graphs import codes, floats, onnx_model, qdq_conv, tflite_of
from tledge.audit import audit, broken_promises
from tledge.audit.macs import granularity
from tledge.records import Audit, ExportRecord
from tledge.run import Run

Exported = tuple[Run, dict[str, ExportRecord]]


@pytest.fixture
def audited(tmp_path: Path) -> Callable[[bytes, str], Audit]:
    """Audit bytes as a file of this kind."""

    def run(data: bytes, kind: str) -> Audit:
        path = tmp_path / f"model.{kind}"
        path.write_bytes(data)
        return audit(path)

    return run


def _one(operator: str, shapes: dict[str, Any], constants: dict[str, np.ndarray], **attributes: Any) -> bytes:
    node = helper.make_node(operator, [*shapes, *constants], ["out"], **attributes)
    return onnx_model([node], shapes, constants)


ONNX_FLOAT = {
    # 5 x 3 x 3 weights an output, 6 x 6 outputs of 7 channels
    "convolution": (lambda: _one("Conv", {"x": [1, 5, 8, 8]}, {"w": floats(7, 5, 3, 3)}), 5 * 9 * 36 * 7),
    "with padding and stride": (
        lambda: _one("Conv", {"x": [1, 5, 8, 8]}, {"w": floats(7, 5, 3, 3)}, pads=[1, 1, 1, 1], strides=[2, 2]),
        5 * 9 * 16 * 7,
    ),
    "in two groups": (lambda: _one("Conv", {"x": [1, 6, 8, 8]}, {"w": floats(4, 3, 3, 3)}, group=2), 3 * 9 * 36 * 4),
    "depthwise": (lambda: _one("Conv", {"x": [1, 6, 8, 8]}, {"w": floats(6, 1, 3, 3)}, group=6), 9 * 36 * 6),
    "of one axis": (lambda: _one("Conv", {"x": [1, 5, 8]}, {"w": floats(7, 5, 3)}), 5 * 3 * 6 * 7),
    "transposed": (
        lambda: _one("ConvTranspose", {"x": [1, 5, 8, 8]}, {"w": floats(5, 7, 2, 2)}, strides=[2, 2]),
        5 * 64 * 7 * 4,
    ),
    "Gemm": (lambda: _one("Gemm", {"x": [2, 5]}, {"w": floats(5, 7)}), 2 * 5 * 7),
    "Gemm of transposed": (lambda: _one("Gemm", {"x": [5, 2]}, {"w": floats(7, 5)}, transA=1, transB=1), 2 * 5 * 7),
    "batched MatMul": (lambda: _one("MatMul", {"x": [3, 2, 5], "y": [3, 5, 7]}, {}), 3 * 2 * 5 * 7),
    "MatMul of vectors": (lambda: _one("MatMul", {"x": [5], "y": [5]}, {}), 5),
}


@pytest.mark.parametrize("name", ONNX_FLOAT)
def test_products_of_float_onnx_operators_are_counted(audited: Callable[[bytes, str], Audit], name: str) -> None:
    make, expected = ONNX_FLOAT[name]
    found = audited(make(), "onnx")
    assert (found.num_macs, found.integer_mac_share, found.weight_granularity) == (expected, 0.0, {})


def _quantized(operator: str) -> bytes:
    """An operator on codes: uint8 by int8."""
    one, zero, small = np.array(1, np.float32), np.array(0, np.uint8), np.full(7, 0.1, np.float32)
    weights = codes(7, 5, 3, 3) if "Conv" in operator else codes(5, 7)
    shape = [1, 5, 8, 8] if "Conv" in operator else [2, 5]
    if operator.startswith("QLinear"):
        constants = {
            "xs": one,
            "xz": zero,
            "w": weights,
            "ws": small,
            "wz": np.zeros(7, np.int8),
            "ys": one,
            "yz": zero,
        }
    else:
        constants = {"w": weights, "xz": zero, "wz": np.zeros(7, np.int8)}
    node = helper.make_node(operator, ["x", *constants], ["out"])
    output_type = "uint8" if operator.startswith("QLinear") else "int32"
    result = [1, 7, 6, 6] if "Conv" in operator else [2, 7]
    return onnx_model([node], {"x": shape}, constants, input_type="uint8", output_type=output_type, output_shape=result)


@pytest.mark.parametrize("operator", ["QLinearConv", "ConvInteger", "QLinearMatMul", "MatMulInteger"])
def test_products_of_onnx_operators_on_codes_are_integer_ones(
    audited: Callable[[bytes, str], Audit], operator: str
) -> None:
    data = _quantized(operator)
    onnx.checker.check_model(onnx.load_model_from_string(data), full_check=True)
    found = audited(data, "onnx")
    assert found.num_macs == (5 * 9 * 36 * 7 if "Conv" in operator else 2 * 5 * 7)
    assert found.integer_mac_share == 1.0
    assert found.weight_granularity == {"per-channel": 1}
    assert found.num_parameters == (7 * 5 * 9 if "Conv" in operator else 35)  # no scale, no zero point
    assert found.float_constants == []


def test_products_of_tflite_operators_are_counted(audited: Callable[[bytes, str], Audit]) -> None:
    import tensorflow as tf

    def macs(function: Callable[..., Any], *shapes: tuple[int | None, ...]) -> tuple[int | None, set[str]]:
        found = audited(tflite_of(function, *shapes), "tflite")
        return found.num_macs, {operator.name for operator in found.operators}

    conv = macs(lambda x: tf.nn.conv2d(x, floats(3, 3, 5, 7), 2, "SAME"), (1, 8, 8, 5))
    assert conv == (9 * 5 * 16 * 7, {"CONV_2D"})
    depthwise = macs(lambda x: tf.nn.depthwise_conv2d(x, floats(3, 3, 6, 1), [1, 1, 1, 1], "VALID"), (1, 8, 8, 6))
    assert depthwise == (9 * 36 * 6, {"DEPTHWISE_CONV_2D"})
    full = macs(lambda x: tf.matmul(x, floats(64, 7)), (2, 64))
    assert full == (2 * 64 * 7, {"FULLY_CONNECTED"})
    transposed = macs(lambda x: tf.nn.conv2d_transpose(x, floats(2, 2, 7, 5), [1, 16, 16, 7], 2, "SAME"), (1, 8, 8, 5))
    assert transposed == (64 * 5 * 4 * 7, {"TRANSPOSE_CONV"})
    batched = macs(tf.matmul, (3, 2, 5), (3, 5, 7))
    assert batched == (3 * 2 * 5 * 7, {"BATCH_MATMUL"})
    adjoint = macs(lambda x, y: tf.matmul(x, y, transpose_a=True), (3, 5, 2), (3, 5, 7))
    assert adjoint[0] == 3 * 2 * 5 * 7


def test_products_of_a_shape_that_only_running_tells_are_unknown_and_not_zero(
    audited: Callable[[bytes, str], Audit],
) -> None:
    import tensorflow as tf

    found = audited(_one("MatMul", {"x": [1, "rows", 5]}, {"w": floats(5, 7)}), "onnx")
    assert (found.num_macs, found.integer_mac_share) == (None, None)
    data = tflite_of(lambda x: tf.nn.conv2d(x, floats(3, 3, 5, 7), 1, "SAME"), (1, None, None, 5))
    assert audited(data, "tflite").num_macs is None


def test_products_inside_a_loop_are_unknown(audited: Callable[[bytes, str], Audit]) -> None:
    value = helper.make_tensor_value_info("inner", onnx.TensorProto.FLOAT, [2, 7])
    branch = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["inner"])], "branch", [], [value])
    node = helper.make_node("If", ["always"], ["out"], then_branch=branch, else_branch=branch)
    data = onnx_model([node], {"x": [2, 5]}, {"w": floats(5, 7), "always": np.array(True)})
    assert audited(data, "onnx").num_macs is None


def test_a_shape_that_the_file_claims_inside_its_graph_is_not_believed(audited: Callable[[bytes, str], Audit]) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("Relu", ["y"], ["out"])]
    data = onnx_model(nodes, {"x": [2, 5]}, {"w": floats(5, 7)}, output_shape=[1, 1])

    def lie(model: Any) -> None:
        model.graph.value_info.append(helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 1]))

    assert audited(rewrite_onnx(data, lie), "onnx").num_macs == 2 * 5 * 7
    data = onnx_model(nodes[:1], {"x": [2, 5]}, {"w": floats(5, 7)}, output="y", output_shape=[1, 1])
    assert audited(data, "onnx").num_macs == 2 * 5 * 7


def test_a_graph_without_products_has_none_and_no_share(audited: Callable[[bytes, str], Audit]) -> None:
    found = audited(_one("Relu", {"x": [2, 5]}, {}), "onnx")
    assert (found.num_macs, found.integer_mac_share, found.num_parameters) == (0, None, 0)


def test_hybrid_products_are_not_integer_arithmetic(audited: Callable[[bytes, str], Audit]) -> None:
    # The kernel of 3 x 3 x 3 x 64 is quantized, the head of 640 weights is too small for that.
    found = audited(tflite(quantize=True, float_input=False), "tflite")
    assert found.names_of("hybrid")
    assert found.integer_mac_share == 0.0
    assert found.weight_granularity == {"per-channel": 1}


def test_the_integer_share_is_the_share_of_products_and_not_of_operators(
    audited: Callable[[bytes, str], Audit],
) -> None:
    def float_head(model: Any) -> None:
        model.graph.node.append(helper.make_node("Flatten", ["out"], ["flat"]))
        model.graph.initializer.append(onnx.numpy_helper.from_array(floats(144, 10), "head"))
        model.graph.node.append(helper.make_node("MatMul", ["flat", "head"], ["scores"]))
        del model.graph.output[:]
        model.graph.output.append(helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, [1, 10]))

    found = audited(rewrite_onnx(qdq_conv(), float_head), "onnx")
    integer, floating = 27 * 36 * 4, 144 * 10
    assert found.num_macs == integer + floating
    assert found.integer_mac_share == pytest.approx(integer / (integer + floating))
    broken = "; ".join(broken_promises(found, "all-integer", "model.onnx", {}))
    assert f"{integer / (integer + floating):.1%} of the multiply-accumulates are integer" in broken
    assert "MatMul (float32) x1" in broken
    assert "head (5,760 bytes)" in broken


def test_granularity_is_told_by_the_number_of_scales(audited: Callable[[bytes, str], Audit]) -> None:
    assert audited(qdq_conv(), "onnx").weight_granularity == {"per-channel": 1}
    found = audited(qdq_conv(scales=1), "onnx")
    assert found.weight_granularity == {"per-tensor": 1}
    options = {"weights": "int8, per-channel"}
    assert "1 of 1 quantized weight tensors have one scale for all channels" in "; ".join(
        broken_promises(found, "all-integer", "model.onnx", options)
    )
    assert not any("one scale" in problem for problem in broken_promises(found, "all-integer", "model.onnx", {}))
    assert granularity(1, num_channels=1) == "per-channel"


def test_a_tflite_convolution_with_one_scale_breaks_a_promise_of_per_channel_weights(
    audited: Callable[[bytes, str], Audit],
) -> None:
    def one_scale(model: Any) -> None:
        (kernel,) = [t for t in model.subgraphs[0].tensors if list(t.shape) == [64, 3, 3, 3]]
        kernel.quantization.scale, kernel.quantization.zeroPoint = kernel.quantization.scale[:1], [0]

    whole = audited(int8_tflite(), "tflite")
    assert set(whole.weight_granularity) == {"per-channel"}
    changed = audited(rewrite_tflite(int8_tflite(), one_scale), "tflite")
    assert changed.weight_granularity["per-tensor"] == 1
    options = {"weights": "int8, per-channel"}
    assert broken_promises(whole, "all-integer", "model.tflite", options) == []
    (problem,) = broken_promises(changed, "all-integer", "model.tflite", options)
    assert "one scale for all channels" in problem


def test_quantized_weights_behind_a_float_operator_break_the_promise_of_float(
    audited: Callable[[bytes, str], Audit],
) -> None:
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "w_scale"], ["weights"]),
        helper.make_node("MatMul", ["x", "weights"], ["y"]),
        helper.make_node("MatMul", ["y", "head"], ["out"]),
    ]
    constants = {"w": codes(5, 7), "w_scale": np.array(0.1, np.float32), "head": floats(7, 90)}
    found = audited(onnx_model(nodes, {"x": [1, 5]}, constants), "onnx")
    assert "1 quantized weight tensors" in broken_promises(found, "float32", "model.onnx", {})


def test_another_opset_than_the_options_say_is_a_broken_promise(audited: Callable[[bytes, str], Audit]) -> None:
    found = audited(qdq_conv(), "onnx")
    assert found.file_versions == {"ir": 8, "opset": 17}
    assert "opset 17, not 18" in broken_promises(found, "all-integer", "model.onnx", {"opset": "18"})
    assert not any("opset" in text for text in broken_promises(found, "all-integer", "model.onnx", {"opset": "17"}))


def test_a_float_weight_of_any_size_in_an_integer_file_is_named(audited: Callable[[bytes, str], Audit]) -> None:
    def problems(data: bytes) -> str:
        return "; ".join(broken_promises(audited(data, "onnx"), "all-integer", "model.onnx", {}))

    assert "float constants" not in problems(qdq_conv())
    # Less than the scales themselves, read by nobody; and one that is as large as a scale a weight.
    assert "left_over (4 bytes)" in problems(qdq_conv(extra={"left_over": floats(1)}))

    def blocked(model: Any) -> None:
        (scale,) = [tensor for tensor in model.graph.initializer if tensor.name == "w_scale"]
        scale.CopyFrom(onnx.numpy_helper.from_array(floats(4, 3, 3, 3), "w_scale"))

    assert "w_scale (432 bytes)" in problems(rewrite_onnx(qdq_conv(), blocked))

    def hidden(model: Any) -> None:
        from ai_edge_litert import schema_py_generated as schema

        buffer = schema.BufferT()
        buffer.data = np.frombuffer(floats(1).tobytes(), np.uint8)
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = "secret", [1], 0, len(model.buffers)
        model.buffers.append(buffer)
        model.subgraphs[0].tensors.append(tensor)

    found = audited(rewrite_tflite(int8_tflite(), hidden), "tflite")
    assert "float constants: secret (4 bytes)" in broken_promises(found, "all-integer", "model.tflite", {})


def test_every_format_of_one_run_has_the_same_products_and_parameters(exported: Exported) -> None:
    # Codes with a range of their own at each photo have scales beside them that no other file has.
    audits = {name: record.audit for name, record in exported[1].items() if name != "onnx-dynamic"}
    (macs,) = {found.num_macs for found in audits.values()}
    (parameters,) = {found.num_parameters for found in audits.values()}
    assert macs
    assert parameters
    assert {name: found.integer_mac_share for name, found in audits.items()} == {
        name: 1.0 if "int8" in name or "int16" in name else 0.0 for name in audits
    }
    assert audits["tflite-int8"].weight_granularity == audits["onnx-int8"].weight_granularity
    assert set(audits["tflite-int8"].weight_granularity) == {"per-channel"}


@pytest.mark.long  # it converts a network of 224 x 224 pixels
def test_mobilenet_v2_has_its_published_products_and_parameters(audited: Callable[[bytes, str], Audit]) -> None:
    # Sandler et al. 2018, table 4: 300 M multiply-accumulates, 3.4 M parameters at width 1.0 and 224 pixels, with the
    # ImageNet head. tf_keras counts 3,538,984 parameters; 34,112 of them are moving averages of batch normalization, and
    # folding leaves one bias of the 17,056 pairs of gamma and beta.
    from tledge.tensorflow_setup import tensorflow

    tf = tensorflow()
    import tf_keras

    model = tf_keras.applications.MobileNetV2(weights=None, input_shape=(224, 224, 3))
    assert model.count_params() == 3_538_984
    rng = np.random.default_rng(0)  # as if trained: the converter leaves biases out that are zero
    model.set_weights([rng.uniform(0.5, 1, weights.shape) for weights in model.get_weights()])
    call = tf.function(lambda x: model(x, training=False), input_signature=[tf.TensorSpec((1, 224, 224, 3))])
    data = tf.lite.TFLiteConverter.from_concrete_functions([call.get_concrete_function()], model).convert()
    found = audited(bytes(data), "tflite")
    assert found.num_macs == 300_774_272
    assert found.num_parameters == 3_538_984 - 34_112 - 17_056
