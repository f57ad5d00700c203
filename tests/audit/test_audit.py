"""Files that break their promise, and damaged files: what the audit says of each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_models import int8_tflite, noise, rewrite_onnx, rewrite_tflite, tflite

from tledge.audit import audit, broken_promises, require_promise
from tledge.audit.promises import PROMISES
from tledge.errors import ArtifactError, PromiseBroken
from tledge.exporters import formats
from tledge.records import Audit, ExportRecord, Promise
from tledge.run import Run

Exported = tuple[Run, dict[str, ExportRecord]]


def _require(found: Audit, format_name: str) -> None:
    form = formats()[format_name]
    require_promise(found, form.name, form.promise, form.file, form.options)


def _broken(found: Audit, format_name: str) -> list[str]:
    form = formats()[format_name]
    return broken_promises(found, form.promise, form.file, form.options)


@pytest.fixture
def audited(tmp_path: Path) -> Callable[[bytes, str], Audit]:
    """Audit bytes offered as an artifact of a format."""

    def run(data: bytes, format_name: str) -> Audit:
        path = tmp_path / formats()[format_name].file
        path.write_bytes(data)
        return audit(path)

    return run


@pytest.fixture
def refused(audited: Callable[[bytes, str], Audit]) -> Callable[[bytes, str], str]:
    """What ``require_promise`` says of bytes that are not what their format promises."""

    def run(data: bytes, format_name: str) -> str:
        with pytest.raises(PromiseBroken) as caught:
            _require(audited(data, format_name), format_name)
        assert caught.value.exit_code == 1
        return str(caught.value)

    return run


def test_each_promise_that_a_record_may_name_has_its_function() -> None:
    assert list(PROMISES) == list(get_args(Promise))
    assert len({check.__name__ for check in PROMISES.values()}) == len(PROMISES)


@pytest.fixture(scope="module")
def onnx_int8(exported: Exported) -> bytes:
    return (exported[0].export_folder("onnx-int8") / "model.onnx").read_bytes()


def test_an_all_integer_tflite_keeps_its_promise(audited: Callable[[bytes, str], Audit]) -> None:
    found = audited(int8_tflite(), "tflite-int8")
    assert _broken(found, "tflite-int8") == []
    assert not found.names_of("float", "hybrid", "flex", "custom")
    assert set(found.weight_types) <= {"INT8", "INT32"}


def test_layers_of_equal_weights_count_each(audited: Callable[[bytes, str], Audit]) -> None:
    import tensorflow as tf

    kernel = np.random.default_rng(0).normal(size=(1, 1, 64, 64)).astype(np.float32)
    kernel[:, :, ::2] = 0

    def body(x: Any) -> Any:
        for _ in range(2):
            x = tf.nn.relu6(tf.nn.conv2d(x, tf.constant(kernel), 1, "SAME"))
        return x

    found = audited(tflite(body, quantize=True, samples=noise(0, 255), integer_io=True), "tflite-int8")
    first_and_last = 3 * 3 * 3 * 64 + 64 * 10
    assert found.zero_weight_share is not None
    assert found.zero_weight_share >= kernel.size / (2 * kernel.size + first_and_last)


def test_a_dynamic_range_tflite_offered_as_int8_is_refused_with_its_hybrid_operators(
    refused: Callable[[bytes, str], str],
) -> None:
    message = refused(tflite(quantize=True, float_input=False), "tflite-int8")
    assert "CONV_2D (float32 with int8 to float32) x1" in message
    assert "SOFTMAX (float32 to float32) x1" in message


def test_a_float_tflite_offered_as_int8_is_refused_with_its_float_operators(
    refused: Callable[[bytes, str], str],
) -> None:
    message = refused(tflite(float_input=False), "tflite-int8")
    assert "CONV_2D (float32 to float32) x1" in message
    assert "no integer operator at all" in message
    assert "float constants: " in message


def test_an_int8_tflite_with_float_input_and_output_is_refused(refused: Callable[[bytes, str], str]) -> None:
    message = refused(tflite(quantize=True, samples=noise(0, 255)), "tflite-int8")
    assert "inputs are ['FLOAT32'], not one uint8 image" in message
    assert "outputs are ['FLOAT32'], not uint8" in message
    assert "QUANTIZE (float32 to int8)" in message
    assert "DEQUANTIZE (int8 to float32)" in message


def test_an_int8_tflite_whose_input_scale_is_not_1_is_refused(refused: Callable[[bytes, str], str]) -> None:
    data = tflite(quantize=True, samples=noise(10, 200), integer_io=True)
    assert "a pixel is not its own code" in refused(data, "tflite-int8")


def test_one_float_operator_among_integer_ones_is_refused_by_name(refused: Callable[[bytes, str], str]) -> None:
    import tensorflow as tf

    data = tflite(tf.sin, quantize=True, samples=noise(0, 255), integer_io=True)
    message = refused(data, "tflite-int8")
    assert "SIN (float32 to float32) x1" in message
    assert "CONV_2D" not in message


@pytest.mark.parametrize("format_name", ["tflite-int8", "tflite-float32"])
def test_a_flex_operator_is_refused_by_name_in_every_format(
    refused: Callable[[bytes, str], str], format_name: str
) -> None:
    import tensorflow as tf

    message = refused(tflite(tf.math.erf, flex=True, float_input=False), format_name)
    assert "flex" in message
    assert "FlexErf" in message


@pytest.mark.parametrize("format_name", ["tflite-int8", "tflite-float32"])
def test_a_custom_operator_is_refused_by_name_in_every_format(
    refused: Callable[[bytes, str], str], format_name: str
) -> None:
    import tensorflow as tf

    data = tflite(lambda x: tf.math.betainc(x + 1, x + 1, tf.nn.sigmoid(x)), custom=True, float_input=False)
    message = refused(data, format_name)
    assert "custom operators" in message
    assert "Betainc" in message


def test_an_int8_file_offered_as_float_is_refused(refused: Callable[[bytes, str], str]) -> None:
    for name in ("tflite-float32", "tflite-float16"):
        assert "integer operators: CONV_2D" in refused(int8_tflite(), name).replace("hybrid/", "")


def test_a_float32_file_offered_as_float16_or_dynamic_is_refused(refused: Callable[[bytes, str], str]) -> None:
    data = tflite(float_input=False)
    assert "weight bytes are float16" in refused(data, "tflite-float16")
    assert "no operator with int8 weights" in refused(data, "tflite-dynamic")


def _int16(body: Callable[[Any], Any] = lambda x: x) -> bytes:
    samples = [sample.astype(np.uint8) for sample in noise(0, 255)]
    return tflite(body, quantize=True, samples=samples, int16=True, float_input=False)


def test_int16_activations_with_int8_weights_keep_their_promise(audited: Callable[[bytes, str], Audit]) -> None:
    assert _broken(audited(_int16(), "tflite-int16x8"), "tflite-int16x8") == []


def test_one_float_operator_among_int16_ones_is_refused_by_name(refused: Callable[[bytes, str], str]) -> None:
    import tensorflow as tf

    message = refused(_int16(tf.sin), "tflite-int16x8")
    assert "operators not on int16: SIN (float32 to float32) x1." in message


@pytest.mark.parametrize(
    ("data", "operator"),
    [
        (int8_tflite, "CONV_2D (int8 with int32 to int8) x1"),
        (lambda: tflite(float_input=False), "CONV_2D (float32 to float32) x1"),
        (lambda: tflite(quantize=True, float_input=False), "CONV_2D (float32 with int8 to float32) x1"),
    ],
    ids=["int8", "float", "dynamic-range"],
)
def test_another_file_offered_as_int16x8_is_refused_with_its_operators(
    refused: Callable[[bytes, str], str], data: Callable[[], bytes], operator: str
) -> None:
    assert operator in refused(data(), "tflite-int16x8")


def test_weights_of_16_bits_are_no_int8_weights(audited: Callable[[bytes, str], Audit]) -> None:
    found = audited(_int16(), "tflite-int16x8")
    wide = found.model_copy(update={"weight_types": {"INT16": found.weight_types["INT8"] * 2, "INT64": 592}})
    assert "0 weight bytes are int8" in "; ".join(_broken(wide, "tflite-int16x8"))


def test_an_int16_file_offered_as_int8_is_refused(refused: Callable[[bytes, str], str]) -> None:
    assert "QUANTIZE (float32 to int16) x1" in refused(_int16(), "tflite-int8")


def test_an_onnx_that_is_quantized_otherwise_offered_as_dynamic_is_refused(
    refused: Callable[[bytes, str], str], exported: Exported, onnx_int8: bytes
) -> None:
    assert "no operator with int8 weights and float activations" in refused(onnx_int8, "onnx-dynamic")
    dynamic, float32 = (
        (exported[0].export_folder(name) / "model.onnx").read_bytes() for name in ("onnx-dynamic", "onnx-float32")
    )
    assert "weight bytes are int8: too few weights" in refused(float32, "onnx-dynamic")

    def without_products(model: Any) -> None:
        for node in model.graph.node:
            if node.op_type in ("ConvInteger", "MatMulInteger"):
                node.op_type = "Max"  # the weights stay, and nothing multiplies them

    assert "no integer operator at all" in refused(rewrite_onnx(dynamic, without_products), "onnx-dynamic")


def test_float32_and_int8_offered_as_onnx_float16_are_refused(
    refused: Callable[[bytes, str], str], exported: Exported, onnx_int8: bytes
) -> None:
    float32 = (exported[0].export_folder("onnx-float32") / "model.onnx").read_bytes()
    assert "weight bytes are float16" in refused(float32, "onnx-float16")
    assert "integer operators: Add" in refused(onnx_int8, "onnx-float16").replace("hybrid/", "")


def test_an_operator_in_a_second_subgraph_is_counted(audited: Callable[[bytes, str], Audit]) -> None:
    import copy

    def hide(model: Any) -> None:
        hidden = copy.deepcopy(model.subgraphs[0])
        for tensor in hidden.tensors:
            data = model.buffers[tensor.buffer].data
            if data is None or not len(data):
                tensor.type = 0  # FLOAT32
        model.subgraphs.append(hidden)

    found = audited(rewrite_tflite(int8_tflite(), hide), "tflite-int8")
    assert any(name.startswith("CONV_2D (float32 with int") for name in found.names_of("hybrid"))


def _without_qdq_around(operator: str) -> Callable[[Any], None]:
    """Remove the DequantizeLinear before the first ``operator``'s data and the QuantizeLinear after it."""

    def change(model: Any) -> None:
        graph = model.graph
        producer = {name: node for node in graph.node for name in node.output}
        (target, *_) = [node for node in graph.node if node.op_type == operator]
        quantizer = producer[producer[target.input[0]].input[0]]
        assert quantizer.op_type == "QuantizeLinear"
        target.input[0] = quantizer.input[0]
        (after, *_) = [node for node in graph.node if target.output[0] in node.input]
        assert after.op_type == "QuantizeLinear"
        (dequantizer, *_) = [node for node in graph.node if node.input[0] == after.output[0]]
        for node in graph.node:
            for i, name in enumerate(node.input):
                if name == dequantizer.output[0]:
                    node.input[i] = target.output[0]

    return change


def test_an_onnx_convolution_without_its_quantize_pairs_is_named_as_not_integer(
    audited: Callable[[bytes, str], Audit], refused: Callable[[bytes, str], str], onnx_int8: bytes
) -> None:
    # The first convolution's input may be a layout operator; take one whose neighbours are all quantizers.
    whole = audited(onnx_int8, "onnx-int8")
    data = rewrite_onnx(onnx_int8, _without_qdq_around("GlobalAveragePool"))
    onnx.checker.check_model(onnx.load_model_from_string(data))
    assert "GlobalAveragePool (float32) x1" in refused(data, "onnx-int8")
    (before,) = [op.count for op in whole.operators if (op.name, op.kind) == ("Conv", "integer")]

    def strip_one_convolution(model: Any) -> None:
        producer = {name: node for node in model.graph.node for name in node.output}
        middle = [node for node in model.graph.node if node.op_type == "Conv"][before // 2]
        quantizer = producer[producer[middle.input[0]].input[0]]
        middle.input[0] = quantizer.input[0]

    stripped = rewrite_onnx(onnx_int8, strip_one_convolution)
    assert "Conv (float32 with int8)" in refused(stripped, "onnx-int8")
    counts = {(op.name, op.kind): op.count for op in audited(stripped, "onnx-int8").operators}
    assert counts["Conv", "integer"] < before  # the convolution itself, and the one before it where that is its source


def test_an_onnx_weight_left_in_float_is_refused(refused: Callable[[bytes, str], str], onnx_int8: bytes) -> None:
    def change(model: Any) -> None:
        constants = {tensor.name: tensor for tensor in model.graph.initializer}
        producer = {name: node for node in model.graph.node for name in node.output}
        (conv, *_) = [node for node in model.graph.node if node.op_type == "Conv"]
        stored = constants[producer[conv.input[1]].input[0]]
        weights = numpy_helper.to_array(stored).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(weights, "float_weights"))
        conv.input[1] = "float_weights"

    assert "Conv (float32" in refused(rewrite_onnx(onnx_int8, change), "onnx-int8")


def _appended(node: Any, output_type: int = TensorProto.FLOAT) -> Callable[[Any], None]:
    """Make ``node`` the last operator: it reads the old output and writes the new one, ``out``."""

    def change(model: Any) -> None:
        (old,) = model.graph.output
        shape = [dim.dim_value for dim in old.type.tensor_type.shape.dim]
        node.input[0] = old.name
        model.graph.node.append(node)
        del model.graph.output[:]
        model.graph.output.append(helper.make_tensor_value_info("out", output_type, shape))
        if node.domain:
            model.opset_import.append(helper.make_opsetid(node.domain, 1))

    return change


@pytest.mark.parametrize("format_name", ["onnx-int8", "onnx-float32"])
def test_an_onnx_operator_of_another_domain_is_refused_by_name(
    refused: Callable[[bytes, str], str], exported: Exported, format_name: str
) -> None:
    data = (exported[0].export_folder(format_name) / "model.onnx").read_bytes()
    node = helper.make_node("Exfiltrate", [""], ["out"], domain="com.example")
    assert "com.example.Exfiltrate (custom) x1" in refused(rewrite_onnx(data, _appended(node)), format_name)


def test_an_onnx_operator_inside_a_branch_is_audited_too(
    refused: Callable[[bytes, str], str], onnx_int8: bytes
) -> None:
    def change(model: Any) -> None:
        (old,) = model.graph.output
        shape = [dim.dim_value for dim in old.type.tensor_type.shape.dim]
        value = helper.make_tensor_value_info("inner", TensorProto.FLOAT, shape)
        branch = helper.make_graph([helper.make_node("Erf", [old.name], ["inner"])], "branch", [], [value])
        model.graph.initializer.append(numpy_helper.from_array(np.array(True), "always"))
        node = helper.make_node("If", ["always"], ["out"], then_branch=branch, else_branch=branch)
        model.graph.node.append(node)
        del model.graph.output[:]
        model.graph.output.append(helper.make_tensor_value_info("out", TensorProto.FLOAT, shape))

    assert "Erf (float32) x2" in refused(rewrite_onnx(onnx_int8, change), "onnx-int8")


def test_an_operator_that_no_runtime_has_in_integers_is_not_counted_as_integer(
    audited: Callable[[bytes, str], Audit],
) -> None:
    # QDQ on both sides of CumSum: ONNX Runtime still computes it in float, since it has no other kernel for it.
    scale, zero = numpy_helper.from_array(np.float32(1), "scale"), numpy_helper.from_array(np.uint8(0), "zero")
    axis = numpy_helper.from_array(np.array(1, np.int64), "axis")
    nodes = [
        helper.make_node("DequantizeLinear", ["pixels", "scale", "zero"], ["real"]),
        helper.make_node("CumSum", ["real", "axis"], ["sum"]),
        helper.make_node("QuantizeLinear", ["sum", "scale", "zero"], ["codes"]),
        helper.make_node("DequantizeLinear", ["codes", "scale", "zero"], ["out"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, [1, 4])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 4])],
        [scale, zero, axis],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    assert audited(model.SerializeToString(), "onnx-int8").names_of("float") == ["CumSum (float32) x1"]


@pytest.mark.parametrize("place", ["initializer", "attribute"])
def test_an_onnx_that_keeps_weights_outside_the_file_is_refused(
    audited: Callable[[bytes, str], Audit], exported: Exported, place: str
) -> None:
    data = (exported[0].export_folder("onnx-float32") / "model.onnx").read_bytes()

    def external(tensor: Any) -> None:
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="../../etc/passwd")

    def change(model: Any) -> None:
        if place == "initializer":
            external(max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data)))
        else:
            tensor = numpy_helper.from_array(np.zeros(8, np.float32))
            external(tensor)
            model.graph.node.insert(0, helper.make_node("Constant", [], ["outside"], value=tensor))

    with pytest.raises(ArtifactError, match="outside the file"):
        audited(rewrite_onnx(data, change), "onnx-float32")


@pytest.mark.parametrize("file", ["model.tflite", "model.onnx"])
@pytest.mark.parametrize("data", [b"", b"\0", b"TFL3", b"\x1c\0\0\0TFL3", b"\xff" * 4096, bytes(range(256)) * 16])
def test_what_is_no_model_is_an_artifact_error_that_names_the_file(tmp_path: Path, file: str, data: bytes) -> None:
    path = tmp_path / file
    path.write_bytes(data)
    with pytest.raises(ArtifactError) as caught:
        audit(path)
    assert str(path) in str(caught.value)
    assert caught.value.exit_code == 3


def test_a_missing_file_is_an_artifact_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="nothing"):
        audit(tmp_path / "nothing.tflite")


def _survives(path: Path, data: bytes, format_name: str) -> None:
    path.write_bytes(data)
    with contextlib.suppress(ArtifactError, PromiseBroken):
        _require(audit(path), format_name)


@pytest.mark.parametrize("format_name", ["tflite-int8", "onnx-int8"])
def test_a_cut_or_damaged_artifact_gives_an_audit_or_a_clear_error_and_nothing_else(
    tmp_path: Path, onnx_int8: bytes, format_name: str
) -> None:
    whole = onnx_int8 if format_name.startswith("onnx") else int8_tflite()
    path = tmp_path / formats()[format_name].file
    rng = np.random.default_rng(0)
    for length in np.linspace(1, len(whole) - 1, 25, dtype=int):
        _survives(path, whole[:length], format_name)
    for _ in range(25):
        damaged = np.frombuffer(whole, np.uint8).copy()
        # Mostly the structure, not the weights: a flatbuffer's lies at its end, ONNX node names at its start.
        near = rng.integers(0, min(4000, len(damaged)), 8)
        places = np.where(rng.random(8) < 0.5, near, len(damaged) - 1 - near)
        damaged[places] ^= rng.integers(1, 256, 8).astype(np.uint8)
        _survives(path, damaged.tobytes(), format_name)


def test_a_tflite_cut_short_is_never_taken_for_whole(tmp_path: Path) -> None:
    whole = int8_tflite()
    path = tmp_path / "model.tflite"
    for length in np.linspace(1, len(whole) - 200, 25, dtype=int):
        path.write_bytes(whole[:length])
        with pytest.raises((ArtifactError, PromiseBroken)):
            _require(audit(path), "tflite-int8")
