"""The layers of a network, which of them belong together, and their outputs as the runtimes compute them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_models import SIZE, int8_tflite, rewrite_onnx, tflite

from tledge.runtimes import runtime
from tledge.runtimes.layer_graph import INPUT, GraphOperator, Layer, layers, match
from tledge.runtimes.litert_layers import LiteRTLayers
from tledge.runtimes.onnx_runtime_layers import OnnxLayers
from tledge.workers.layer_comparison import Sums
from tledge.workers.process import WorkerFailed, WorkerProcess

from .jobs import job

QUANTIZED = [
    GraphOperator("weights", "DequantizeLinear", ("w8", "ws"), ("w",)),
    GraphOperator("conv_1", "Conv", ("pixels", "w"), ("c",)),
    GraphOperator("q_1", "QuantizeLinear", ("c", "s"), ("c8",)),
    GraphOperator("dq_1", "DequantizeLinear", ("c8", "s"), ("cr",)),
    GraphOperator("add_2", "Add", ("cr", "negated"), ("a",)),
    GraphOperator("softmax_3", "Softmax", ("a",), ("out",)),
]
FLOAT = [
    GraphOperator("cast_0", "Cast", ("pixels",), ("p",)),
    GraphOperator("conv_7", "Conv", ("p", "k", "b"), ("c",)),
    GraphOperator("clip_8", "Clip", ("c", "low", "high"), ("r",)),
    GraphOperator("sub_9", "Sub", ("r", "mean"), ("a",)),
    GraphOperator("softmax_10", "Softmax", ("a",), ("out",)),
]


def chain(*operators: str) -> tuple[Layer, ...]:
    """Layers that each read the one before."""
    return tuple(Layer(f"{name}_{i}", name, i, (i - 1,)) for i, name in enumerate(operators))


def matched(left: tuple[Layer, ...], right: tuple[Layer, ...]) -> list[tuple[int, int]]:
    return list(match(left, [(1,)] * len(left), right, [(1,)] * len(right)).pairs)


def test_conversions_and_dequantized_weights_are_no_layers() -> None:
    found = layers(QUANTIZED[:-2], "pixels", "cr")
    assert [(layer.name, layer.tensor, layer.inputs) for layer in found] == [("conv_1", "c", (INPUT,))]


def test_what_an_optimizer_folds_into_a_convolution_belongs_to_it() -> None:
    found = layers(FLOAT, "pixels", "out")
    assert [(layer.name, layer.tensor) for layer in found] == [("conv_7", "a"), ("softmax_10", "out")]


def test_an_activation_stays_a_layer_where_the_convolution_is_read_by_another_one_too() -> None:
    operators = [*FLOAT[:3], GraphOperator("mul", "Mul", ("c", "r"), ("out",))]
    found = layers(operators, "pixels", "out")
    assert [(layer.name, layer.inputs) for layer in found] == [
        ("conv_7", (INPUT,)),
        ("clip_8", (0,)),
        ("mul", (0, 1)),
    ]


def test_an_operator_with_many_outputs_is_a_layer_for_each_that_is_read() -> None:
    operators = [
        GraphOperator("split", "Split", ("pixels",), ("left", "unused", "right")),
        GraphOperator("add", "Add", ("left", "right"), ("out",)),
    ]
    assert [layer.name for layer in layers(operators, "pixels", "out")] == ["split:0", "split:2", "add"]


def test_a_network_whose_output_does_not_depend_on_its_input_is_refused() -> None:
    with pytest.raises(ValueError, match="does not depend"):
        layers([GraphOperator("constant", "Softmax", ("weights",), ("out",))], "pixels", "out")


def test_exports_of_one_network_match_whatever_they_call_and_fold() -> None:
    left, right = layers(QUANTIZED, "pixels", "out"), layers(FLOAT, "pixels", "out")
    assert [(left[i].name, right[j].name) for i, j in match(left, [(1,), (2,)], right, [(1,), (2,)]).pairs] == [
        ("conv_1", "conv_7"),
        ("softmax_3", "softmax_10"),
    ]


def test_subtractions_match_the_additions_that_replaced_them() -> None:
    assert matched(chain("Mul", "Add", "Conv"), chain("Mul", "Sub", "Conv")) == [(0, 0), (1, 1), (2, 2)]


def test_a_layer_of_another_shape_is_no_counterpart() -> None:
    left, right = chain("Conv", "Gemm"), chain("Conv", "Gemm")
    found = match(left, [(1, 8), (5,)], right, [(1, 9), (5,)])
    assert (found.pairs, found.only_left, found.only_right) == (((1, 1),), (0,), (0,))


def test_a_layer_that_one_side_lacks_does_not_shift_the_others() -> None:
    left, right = chain("Sqrt", "Conv", "MaxPool", "Gemm"), chain("Conv", "MaxPool", "Tanh", "Gemm")
    found = match(left, [(1,)] * 4, right, [(1,)] * 4)
    assert (found.pairs, found.only_left, found.only_right) == (((1, 0), (2, 1), (3, 3)), (0,), (2,))


def test_layers_that_read_other_layers_are_no_counterparts() -> None:
    left = (*chain("Conv", "MaxPool"), Layer("concat", "Concat", 2, (0, 1)))
    right = (*chain("Conv", "MaxPool"), Layer("concat", "Concat", 2, (1, 1)))
    assert matched(left, right) == [(0, 0), (1, 1)]


def test_error_and_angle_of_a_hand_worked_example() -> None:
    sums = Sums()
    sums.add(np.array([[3.0]], np.float32), np.array([[3.0]], np.float32))  # as they come, photo by photo
    sums.add(np.array([[4.0]], np.float32), np.array([[3.0]], np.float32))
    assert sums.sqnr_db == pytest.approx(10 * math.log10(25 / 1))
    assert sums.cosine == pytest.approx((9 + 12) / (5 * math.sqrt(18)))


def test_a_step_of_8_bits_over_a_uniform_signal_costs_what_theory_says() -> None:
    """6.02 dB a bit: a full-scale uniform signal has 10 log10(2 ** 16) dB. Bennett, 1948."""
    signal = np.random.default_rng(0).uniform(-1, 1, 200_000).astype(np.float32)
    step = 2 / 256
    sums = Sums()
    sums.add(signal, (np.rint(signal / step) * step).astype(np.float32))
    assert sums.sqnr_db == pytest.approx(10 * math.log10(2**16), abs=0.05)


def test_equal_values_have_no_ratio_and_a_dead_layer_has_no_angle() -> None:
    equal, dead = Sums(), Sums()
    equal.add(np.arange(3, dtype=np.float32), np.arange(3, dtype=np.float32))
    dead.add(np.arange(3, dtype=np.float32), np.zeros(3, np.float32))
    assert (equal.sqnr_db, equal.cosine) == (None, 1.0)
    assert (dead.sqnr_db, dead.cosine) == (0.0, 0.0)


@functools.cache
def float_tflite() -> bytes:
    """The float network of ``int8_tflite``."""
    return tflite(float_input=False)


@functools.cache
def onnx_chain(gain: float = 2.0) -> bytes:
    """pixels -> Cast -> Mul by gain -> Relu -> Add 1 -> ReduceMax to (1, 3)."""
    nodes = [
        helper.make_node("Cast", ["pixels"], ["real"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["real", "gain"], ["scaled"], "scale"),
        helper.make_node("Relu", ["scaled"], ["positive"], "relu"),
        helper.make_node("Add", ["positive", "one"], ["shifted"], "shift"),
        helper.make_node("ReduceMax", ["shifted"], ["out"], "brightest", axes=[1, 2], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, [1, SIZE, SIZE, 3])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 3])],
        [
            numpy_helper.from_array(np.array(gain, np.float32), "gain"),
            numpy_helper.from_array(np.array(1, np.float32), "one"),
        ],
    )
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
    )


@pytest.fixture
def photos() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)


def test_every_layer_of_an_onnx_model_has_the_values_that_its_operators_mean(photos: np.ndarray) -> None:
    session = OnnxLayers(onnx_chain(), 1)
    values = dict(zip((layer.name for layer in session.layers), session.run(photos[:1]), strict=True))
    np.testing.assert_array_equal(values["scale"], photos[:1] * np.float32(2))
    np.testing.assert_array_equal(values["shift"], photos[:1] * np.float32(2) + 1)
    np.testing.assert_array_equal(values["brightest"], photos[:1].max((1, 2)) * np.float32(2) + 1)


def test_every_layer_of_a_tflite_model_has_the_values_that_its_operators_mean(photos: np.ndarray) -> None:
    session = LiteRTLayers(float_tflite(), 1)
    values = {layer.operator: output for layer, output in zip(session.layers, session.run(photos[:1]), strict=True)}
    np.testing.assert_allclose(values["MEAN"], values["CONV_2D"].mean((1, 2)), rtol=1e-4)
    exponentials = np.exp(values["FULLY_CONNECTED"])
    np.testing.assert_allclose(values["SOFTMAX"], exponentials / exponentials.sum(), rtol=1e-5)
    assert 0 <= values["CONV_2D"].min() < values["CONV_2D"].max() <= 6


def test_int8_layers_are_computed_by_the_kernels_that_are_deployed(photos: np.ndarray) -> None:
    """XNNPACK's codes and the built-in kernels' differ: the answers are equal only where the kernels are."""
    session, deployed = LiteRTLayers(int8_tflite(), 1), runtime("litert").load(int8_tflite(), 1, "XNNPACK")
    for photo in photos:
        np.testing.assert_array_equal(session.run(photo[None])[-1].ravel(), deployed.predict(photo[None]))


def test_int8_layers_are_read_in_real_units(photos: np.ndarray) -> None:
    real = LiteRTLayers(float_tflite(), 1).run(photos[:1])
    quantized = LiteRTLayers(int8_tflite(), 1).run(photos[:1])
    for expected, found in zip(real, quantized, strict=True):
        np.testing.assert_allclose(found, expected, atol=0.02 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("name", "model", "fed", "reader"),
    [("litert", float_tflite, "CONV_2D", "MEAN"), ("onnxruntime", onnx_chain, "Add", "ReduceMax")],
)
def test_a_fed_layer_gives_its_readers_what_the_caller_says(
    photos: np.ndarray, name: str, model: Callable[[], bytes], fed: str, reader: str
) -> None:
    reading = runtime(name).layers
    assert reading is not None
    whole = reading(model(), 1)
    assert all(whole.is_float)
    operators = [layer.operator for layer in whole.layers]
    place = operators.index(fed)
    before = whole.run(photos[:1])
    pieces = reading(model(), 1, [place])
    after = pieces.run(photos[:1], [np.full_like(before[place], 5)])
    np.testing.assert_array_equal(after[place], before[place])  # the layer itself is computed as before
    np.testing.assert_allclose(after[operators.index(reader)], 5, rtol=1e-6)


def compared(folder: Path, model: bytes, against: bytes, pixels: np.ndarray, num_photos: int) -> dict[str, Any]:
    (folder / "against").write_bytes(against)
    made = job(folder, model, "onnxruntime", pixels)
    with WorkerProcess("tledge.workers.layer_comparison", made, folder) as process:
        return process.call("compare", 60, against=str(folder / "against"), num_photos=num_photos)


def test_a_model_compared_with_itself_is_equal_in_every_layer(tmp_path: Path, photos: np.ndarray) -> None:
    answer = compared(tmp_path, onnx_chain(), onnx_chain(), photos, 3)
    assert answer["notes"] == []
    assert [layer["name"] for layer in answer["layers"]] == ["scale", "relu", "shift", "brightest"]
    assert {(layer["sqnr_db"], layer["own_sqnr_db"], layer["cosine"]) for layer in answer["layers"]} == {
        (None, None, 1.0)
    }


def test_the_error_of_one_layer_is_carried_on_but_owned_by_it_alone(tmp_path: Path, photos: np.ndarray) -> None:
    answer = compared(tmp_path, onnx_chain(2.2), onnx_chain(2.0), photos, 3)
    found = {layer["name"]: layer for layer in answer["layers"]}
    assert found["scale"]["sqnr_db"] == pytest.approx(20, abs=1e-4)  # an error of a tenth of the signal
    assert found["relu"]["sqnr_db"] == pytest.approx(20, abs=1e-4)
    assert found["scale"]["own_sqnr_db"] == pytest.approx(20, abs=1e-4)
    assert [found[name]["own_sqnr_db"] for name in ("relu", "shift", "brightest")] == [None] * 3


def test_photos_are_taken_from_the_whole_of_the_file(tmp_path: Path) -> None:
    """All but the last third are black, where any gain is right."""
    photos = np.zeros((9, SIZE, SIZE, 3), np.uint8)
    photos[6:] = 200
    answer = compared(tmp_path, onnx_chain(2.2), onnx_chain(2.0), photos, 3)
    assert answer["layers"][0]["sqnr_db"] == pytest.approx(20, abs=1e-4)


def test_layers_that_have_no_error_in_numbers_are_named(tmp_path: Path, photos: np.ndarray) -> None:
    (infinite,) = compared(tmp_path, onnx_chain(math.nan), onnx_chain(), photos, 1)["notes"]
    assert "not finite: scale, relu, shift, brightest" in infinite
    answer = compared(tmp_path, onnx_chain(), onnx_chain(-1.0), photos, 1)
    assert answer["notes"] == [
        "Not compared: 1 zero on every photo in the float model, so no ratio can be given: relu."
    ]


def test_a_layer_without_a_counterpart_is_named(tmp_path: Path, photos: np.ndarray) -> None:
    def without_the_shift(model: Any) -> None:
        model.graph.node[4].input[0] = "positive"
        del model.graph.node[3]

    answer = compared(tmp_path, onnx_chain(), rewrite_onnx(onnx_chain(), without_the_shift), photos, 1)
    assert answer["notes"] == ["Not compared: 1 without a counterpart in the float model: shift."]
    assert [layer["name"] for layer in answer["layers"]] == ["scale", "relu", "brightest"]


def test_weights_outside_the_file_are_refused(tmp_path: Path, photos: np.ndarray) -> None:
    def moved_out(model: Any) -> None:
        tensor = model.graph.initializer[0]
        tensor.data_location = TensorProto.EXTERNAL
        tensor.ClearField("raw_data")
        tensor.external_data.add(key="location", value="against")

    with pytest.raises(WorkerFailed, match="outside the file"):
        compared(tmp_path, rewrite_onnx(onnx_chain(), moved_out), onnx_chain(), photos, 1)


@pytest.mark.parametrize("garbage", [b"", b"not a model"])
def test_a_garbage_model_is_a_process_that_failed_with_a_reason(
    tmp_path: Path, photos: np.ndarray, garbage: bytes
) -> None:
    with pytest.raises(WorkerFailed, match="(?i)error"):
        compared(tmp_path, onnx_chain(), garbage, photos, 1)
