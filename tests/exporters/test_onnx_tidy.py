"""What no runtime needs is in no ONNX file, and its going changes no answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tledge.exporters import onnx as onnx_formats
from tledge.exporters.onnx_tidy import tidy
from tledge.exporters.options import Options
from tledge.run import Run
from tledge.stages import export


def _answers(model: Any, size: int) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    photos = np.random.default_rng(0).integers(0, 256, (8, 1, size, size, 3), np.uint8)
    return np.concatenate([session.run(None, {"pixels": photo})[0] for photo in photos])


@pytest.fixture
def untidy(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Copies of what is tidied, as it was before."""
    seen = []

    def keep_and_tidy(model: Any) -> None:
        seen.append(type(model).FromString(model.SerializeToString()))
        tidy(model)

    monkeypatch.setattr(onnx_formats, "tidy", keep_and_tidy)
    return seen


def test_int8_files_lose_zero_points_of_biases_shapes_and_opsets_and_no_bit_of_their_answers(
    lenet_copy: Run, untidy: list[Any]
) -> None:
    import onnx
    from onnx import TensorProto

    (made,) = export(lenet_copy, ["onnx-int8"], options=Options(calibration_samples=32))
    model = onnx.load(Path(lenet_copy.export_folder(made.format), made.file))
    (before,) = untidy
    size = lenet_copy.manifest.backbone.input_size
    np.testing.assert_array_equal(_answers(model, size), _answers(before, size))

    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    biases = [node for node in model.graph.node if types.get(node.input[0]) == TensorProto.INT32]
    assert len(biases) == 5
    assert {len(node.input) for node in biases} == {2}
    assert len(before.graph.value_info) > 0
    assert len(model.graph.value_info) == 0
    assert len(before.opset_import) > 1
    assert [entry.domain for entry in model.opset_import] == [""]
    read = {name for node in model.graph.node for name in node.input}
    assert set(types) <= read


def test_a_zero_point_that_is_not_zero_stays() -> None:
    from onnx import TensorProto, helper, numpy_helper

    constants = {
        "codes": np.array([5, 7], np.int32), "scale": np.array(0.5, np.float32), "zero_point": np.array(1, np.int32),
    }  # fmt: skip
    graph = helper.make_graph(
        [helper.make_node("DequantizeLinear", list(constants), ["out"])],
        "g",
        [],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [2])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    tidy(model)
    assert list(model.graph.node[0].input) == list(constants)
