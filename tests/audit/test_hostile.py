"""Files that lie about themselves: an ArtifactError, soon, and without the memory that they ask for."""

from __future__ import annotations

import contextlib
import os
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper
from small_models import int8_tflite, rewrite_onnx, rewrite_tflite, tflite

from audit.small_graphs import floats, onnx_model, qdq_conv
from tledge.audit import audit
from tledge.audit.contract import contract_problems
from tledge.audit.macs import MAX_ELEMENTS, elements
from tledge.errors import ArtifactError

LIMIT_S = 10  # the slowest takes about two on an idle core
LIMIT_BYTES = 100_000_000  # the largest file here has one million


@pytest.fixture
def refused(tmp_path: Path) -> Callable[[bytes, str], str]:
    """What the audit says of bytes that it refuses, in time and memory; the contract must survive them too."""

    def run(data: bytes, kind: str) -> str:
        path = tmp_path / f"model.{kind}"
        path.write_bytes(data)
        tracemalloc.start()
        started = time.perf_counter()
        try:
            with contextlib.suppress(ArtifactError):
                contract_problems(path, ["a"], 8)
            with pytest.raises(ArtifactError) as caught:
                audit(path)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert time.perf_counter() - started < LIMIT_S
        assert peak < LIMIT_BYTES
        assert "MemoryError" not in str(caught.value)
        return str(caught.value)

    return run


def _conv(model: Any) -> Any:
    """The first convolution of a TFLite model in its object form."""
    main = model.subgraphs[0]
    return next(operator for operator in main.operators if len(operator.inputs) == 3)


TFLITE_LIES: dict[str, tuple[Callable[[Any], None], str]] = {}


def _lie(expected: str) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    def register(change: Callable[[Any], None]) -> Callable[[Any], None]:
        TFLITE_LIES[change.__name__.strip("_").replace("_", " ")] = (change, expected)
        return change

    return register


@_lie("claims 2,147,483,648,000 elements")
def _a_result_of_very_many_elements(model: Any) -> None:
    model.subgraphs[0].tensors[_conv(model).outputs[0]].shape = [1000, 2**30, 2, 1]


@_lie("negative size")
def _a_result_of_negative_size(model: Any) -> None:
    model.subgraphs[0].tensors[_conv(model).outputs[0]].shape = [1, -16, 16, 64]


@_lie("needs 1,728,000,000 bytes and has 1,728")
def _weights_larger_than_their_data(model: Any) -> None:
    model.subgraphs[0].tensors[_conv(model).inputs[1]].shape = [64_000_000, 3, 3, 3]


@_lie("has weights")
def _weights_of_another_rank(model: Any) -> None:
    model.subgraphs[0].tensors[_conv(model).inputs[1]].shape = [1728]


@_lie("dimensions")
def _a_result_of_a_thousand_dimensions(model: Any) -> None:
    model.subgraphs[0].tensors[_conv(model).outputs[0]].shape = [1] * 1000


@_lie("which nothing before it writes")
def _a_cycle(model: Any) -> None:
    operator = _conv(model)
    operator.inputs = [operator.outputs[0], *operator.inputs[1:]]


@_lie("which nothing before it writes")
def _operators_in_the_wrong_order(model: Any) -> None:
    model.subgraphs[0].operators.reverse()


@_lie("which has its content already")
def _weights_that_an_operator_overwrites(model: Any) -> None:
    operator = _conv(model)
    operator.outputs = [operator.inputs[1]]


@_lie("names tensor 1000000 of")
def _a_tensor_out_of_range(model: Any) -> None:
    _conv(model).inputs = [10**6, *_conv(model).inputs[1:]]


@_lie("names tensor -5 of")
def _a_tensor_counted_from_the_end(model: Any) -> None:
    _conv(model).inputs = [-5, *_conv(model).inputs[1:]]


@_lie("names tensor -1 of")
def _an_input_counted_from_the_end(model: Any) -> None:
    model.subgraphs[0].inputs = [-1]


@_lie("lacks an input or output")
def _a_convolution_without_weights(model: Any) -> None:
    _conv(model).inputs = [_conv(model).inputs[0]]


@_lie("lacks an input or output")
def _a_convolution_whose_weights_are_left_out(model: Any) -> None:
    _conv(model).inputs = [_conv(model).inputs[0], -1, -1]


@_lie("names operator code 99 of")
def _an_operator_code_out_of_range(model: Any) -> None:
    _conv(model).opcodeIndex = 99


@_lie("names buffer 99999 of")
def _a_buffer_out_of_range(model: Any) -> None:
    model.subgraphs[0].tensors[_conv(model).inputs[1]].buffer = 99_999


@_lie("data type 77 is unknown")
def _a_data_type_that_does_not_exist(model: Any) -> None:
    model.subgraphs[0].tensors[0].type = 77


@_lie("behind the flatbuffer")
def _weights_behind_the_flatbuffer(model: Any) -> None:
    buffer = model.buffers[model.subgraphs[0].tensors[_conv(model).inputs[1]].buffer]
    buffer.offset, buffer.size = 2**40, 1728


@_lie("there is 3 only")
def _another_schema_version(model: Any) -> None:
    model.version = 2


@_lie("it has no operators")
def _no_operators(model: Any) -> None:
    model.subgraphs[0].operators = []


@pytest.mark.parametrize("name", TFLITE_LIES)
def test_a_tflite_with_a_lie_in_it_is_refused_for_that(refused: Callable[[bytes, str], str], name: str) -> None:
    change, expected = TFLITE_LIES[name]
    assert expected in refused(rewrite_tflite(int8_tflite(), change), "tflite")


def _bomb(num_subgraphs: int, num_tensors: int, name_bytes: int = 1) -> bytes:
    """A flatbuffer in which every entry of a vector is the same table: small on disk, vast when unpacked."""
    builder = flatbuffers.Builder(1024)
    name = builder.CreateString("n" * name_bytes)
    schema.TensorStart(builder)
    schema.TensorAddName(builder, name)
    tensor = schema.TensorEnd(builder)

    def vector(start: Callable[[Any, int], Any], table: int, count: int) -> int:
        start(builder, count)
        for _ in range(count):
            builder.PrependUOffsetTRelative(table)
        return int(builder.EndVector())

    tensors = vector(schema.SubGraphStartTensorsVector, tensor, num_tensors)
    schema.OperatorStart(builder)
    operators = vector(schema.SubGraphStartOperatorsVector, schema.OperatorEnd(builder), 1)
    schema.SubGraphStart(builder)
    schema.SubGraphAddTensors(builder, tensors)
    schema.SubGraphAddOperators(builder, operators)
    subgraph = schema.SubGraphEnd(builder)
    subgraphs = vector(schema.ModelStartSubgraphsVector, subgraph, num_subgraphs)
    schema.BufferStart(builder)
    buffers = vector(schema.ModelStartBuffersVector, schema.BufferEnd(builder), 1)
    schema.ModelStart(builder)
    schema.ModelAddVersion(builder, 3)
    schema.ModelAddSubgraphs(builder, subgraphs)
    schema.ModelAddBuffers(builder, buffers)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    return bytes(builder.Output())


def test_a_small_flatbuffer_that_unpacks_to_a_billion_tensors_is_refused(refused: Callable[[bytes, str], str]) -> None:
    data = _bomb(num_subgraphs=30_000, num_tensors=30_000)
    assert len(data) < 300_000
    assert "claims to hold more than the whole file" in refused(data, "tflite")
    assert "claims more than 100,000 tensors" in refused(_bomb(num_subgraphs=1, num_tensors=300_000), "tflite")


def test_a_flatbuffer_that_unpacks_one_long_name_for_every_tensor_is_refused(
    refused: Callable[[bytes, str], str],
) -> None:
    data = _bomb(num_subgraphs=1, num_tensors=10_000, name_bytes=1_000_000)
    assert "claims to hold more than the whole file" in refused(data, "tflite")


def _node(graph: Any, operator: str) -> Any:
    return next(node for node in graph.node if node.op_type == operator)


ONNX_LIES: dict[str, tuple[Callable[[Any], None], str]] = {}


def _onnx_lie(expected: str) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    def register(change: Callable[[Any], None]) -> Callable[[Any], None]:
        ONNX_LIES[change.__name__.strip("_").replace("_", " ")] = (change, expected)
        return change

    return register


def _constant(model: Any, name: str) -> Any:
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


@_onnx_lie("claims 1,099,511,627,776 elements")
def _constants_of_very_many_elements(model: Any) -> None:
    _constant(model, "w").dims[:] = [2**40]


@_onnx_lie("elements, more than a model can hold")
def _constants_whose_size_overflows(model: Any) -> None:
    _constant(model, "w").dims[:] = [2**62, 2**62, 2**62]


@_onnx_lie("negative size")
def _constants_of_negative_size(model: Any) -> None:
    _constant(model, "w").dims[:] = [-4, -27]


@_onnx_lie("needs 1,080 bytes and has 108")
def _constants_larger_than_their_data(model: Any) -> None:
    _constant(model, "w").dims[:] = [40, 3, 3, 3]


@_onnx_lie("needs 1,000 numbers and has 1")
def _constants_larger_than_their_typed_data(model: Any) -> None:
    model.graph.initializer.append(TensorProto(name="t", dims=[1000], data_type=1, float_data=[1.0]))


@_onnx_lie("ValueError")
def _constants_of_a_data_type_that_does_not_exist(model: Any) -> None:
    _constant(model, "w").data_type = 99


@_onnx_lie("which nothing before it writes")
def _a_cycle_(model: Any) -> None:
    _node(model.graph, "QuantizeLinear").input[0] = "out"


@_onnx_lie("which nothing before it writes")
def _a_missing_tensor(model: Any) -> None:
    _node(model.graph, "Conv").input[1] = "nowhere"


@_onnx_lie("which has its content already")
def _a_name_written_twice(model: Any) -> None:
    model.graph.node.append(helper.make_node("Relu", ["sum"], ["sum"]))


@_onnx_lie("is written by nothing")
def _an_output_without_origin(model: Any) -> None:
    model.graph.output[0].name = "nowhere"


@_onnx_lie("lacks an input or output")
def _a_convolution_without_weights_(model: Any) -> None:
    del _node(model.graph, "Conv").input[1]


@_onnx_lie("has weights of shape")
def _weights_of_another_rank_(model: Any) -> None:
    _constant(model, "w").dims[:] = [4, 27]


@_onnx_lie("more than a model can hold")
def _an_input_of_very_many_elements(model: Any) -> None:
    for dim in model.graph.input[0].type.tensor_type.shape.dim:
        dim.dim_value = 2**20


@_onnx_lie("does not say of which opset")
def _no_opset(model: Any) -> None:
    del model.opset_import[:]


@_onnx_lie("defines operators of its own")
def _functions(model: Any) -> None:
    model.functions.add(name="Conv", domain="")


@pytest.mark.parametrize("name", ONNX_LIES)
def test_an_onnx_with_a_lie_in_it_is_refused_for_that(refused: Callable[[bytes, str], str], name: str) -> None:
    change, expected = ONNX_LIES[name]
    assert expected in refused(rewrite_onnx(qdq_conv(), change), "onnx")


def test_an_onnx_of_very_many_operators_on_one_name_is_audited_in_time(tmp_path: Path) -> None:
    # As many readers of one name as nodes: a walk of readers for every node would take hours.
    nodes = [helper.make_node("Relu", ["x"], [f"y{number}"]) for number in range(30_000)]
    nodes.append(helper.make_node("MatMul", ["x", "w"], ["out"]))
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx_model(nodes, {"x": [1, 5]}, {"w": floats(5, 7)}))
    assert audit(path).num_macs == 35


def test_names_from_a_file_reach_no_terminal_unfiltered(tmp_path: Path) -> None:
    def change(model: Any) -> None:
        model.graph.node.append(helper.make_node("\x1b[2J" + "x" * 10**6, ["out"], ["z"], domain="evil"))
        model.opset_import.append(helper.make_opsetid("evil", 1))

    path = tmp_path / "model.onnx"
    path.write_bytes(rewrite_onnx(qdq_conv(), change))
    (name,) = audit(path).names_of("custom")
    assert "\x1b" not in name
    assert len(name) < 130


def test_a_model_whose_shape_inference_takes_too_long_or_dies_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(qdq_conv())
    with monkeypatch.context() as patch:
        patch.setattr("tledge.audit.shapes._TIME_LIMIT_S", 0.01)
        with pytest.raises(ArtifactError, match="not inferred within 0.01 s"):
            audit(path)
    (tmp_path / "dies").write_text("#!/bin/sh\nkill -SEGV $$\n")
    (tmp_path / "dies").chmod(0o755)
    monkeypatch.setattr("tledge.audit.shapes.sys.executable", str(tmp_path / "dies"))
    with pytest.raises(ArtifactError, match="can't infer its shapes: it ended with code -11"):
        audit(path)


@pytest.mark.parametrize(
    ("operator", "attributes"),
    [("Conv", {"strides": [0, 0]}), ("Conv", {"dilations": [-1, 0]}), ("Conv", {"group": 0}), ("Gemm", {"transA": 7})],
)
def test_attributes_that_no_operator_can_have_end_in_an_answer(
    tmp_path: Path, operator: str, attributes: dict[str, Any]
) -> None:
    weights = floats(4, 3, 3, 3) if operator == "Conv" else floats(3, 4)
    shape: list[int | str] = [1, 3, 8, 8] if operator == "Conv" else [3, 3]
    path = tmp_path / "model.onnx"
    node = helper.make_node(operator, ["x", "w"], ["out"], **attributes)
    path.write_bytes(onnx_model([node], {"x": shape}, {"w": weights}))
    try:
        macs = audit(path).num_macs
        assert macs is None or macs > 0
    except ArtifactError as error:
        assert str(path) in str(error)


def test_a_pipe_or_a_folder_is_no_artifact(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    (tmp_path / "folder.tflite").mkdir()
    for name in ("pipe.onnx", "folder.tflite"):
        with pytest.raises(ArtifactError, match="not a file"):
            audit(tmp_path / name)


def test_a_file_larger_than_its_format_allows_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "model.tflite").open("wb") as file:
        file.truncate(2**31 + 1)
    with pytest.raises(ArtifactError, match="at most 2 GiB"):
        audit(tmp_path / "model.tflite")


def test_a_shape_is_counted_without_overflow() -> None:
    assert elements([], "scalar") == 1
    assert elements([2**62, 0], "empty") == 0
    assert elements([2**16, 2**15], "largest") == MAX_ELEMENTS
    for shape in ([2**16, 2**16], [2**32, 2**32], [-1], [2, -1]):
        with pytest.raises(ArtifactError, match="tensor 'x'"):
            elements(shape, "x")


@pytest.mark.parametrize("kind", ["tflite", "onnx"])
def test_flipped_bits_anywhere_give_an_audit_or_an_artifact_error(tmp_path: Path, kind: str) -> None:
    whole = tflite() if kind == "tflite" else qdq_conv()
    rng = np.random.default_rng(5)
    path = tmp_path / f"model.{kind}"
    for _ in range(300 if kind == "tflite" else 20):
        damaged = np.frombuffer(whole, np.uint8).copy()
        places = rng.integers(0, len(damaged), 4)
        damaged[places] ^= (1 << rng.integers(0, 8, 4)).astype(np.uint8)
        path.write_bytes(damaged.tobytes())
        try:
            audit(path)
        except ArtifactError as error:
            assert "MemoryError" not in str(error)
