"""ONNX Runtime sessions."""

from __future__ import annotations

import collections
from pathlib import Path

import numpy as np
import pytest

from tledge.audit.onnx import LAYOUT
from tledge.errors import InputError
from tledge.records import ExportRecord
from tledge.run import Run
from tledge.runtimes import runtime

Exported = tuple[Run, dict[str, ExportRecord]]


@pytest.mark.parametrize("name", ["onnx-float32", "onnx-int8"])
def test_a_session_gives_float32_probabilities_that_the_next_call_does_not_overwrite(
    exported: Exported, name: str
) -> None:
    run = exported[0]
    size = run.manifest.backbone.input_size
    session = runtime("onnxruntime").load((run.export_folder(name) / "model.onnx").read_bytes(), 1, "optimized")
    dark = session.predict(np.zeros((1, size, size, 3), np.uint8))
    assert (dark.shape, dark.dtype) == ((len(run.manifest.labels),), np.float32)
    kept = dark.copy()
    session.predict(np.full((1, size, size, 3), 255, np.uint8))
    np.testing.assert_array_equal(dark, kept)


def test_what_the_audit_calls_integer_runs_in_integer_kernels(exported: Exported, tmp_path: Path) -> None:
    """The graph that ONNX Runtime really executes holds no float operator but the last conversion."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "executed.onnx")
    options.log_severity_level = 3
    artifact = exported[0].export_folder("onnx-int8") / "model.onnx"
    onnxruntime.InferenceSession(artifact, options, providers=["CPUExecutionProvider"])
    executed = collections.Counter(node.op_type for node in onnx.load(tmp_path / "executed.onnx").graph.node)
    integer = {name for name in executed if name.startswith("Q")}
    assert set(executed) - integer - LAYOUT == {"DequantizeLinear"}
    assert executed["DequantizeLinear"] == 1
    assert executed["QLinearConv"] > 30


def test_an_unknown_runtime_offers_the_nearest() -> None:
    with pytest.raises(InputError, match="Did you mean 'onnxruntime'"):
        runtime("onnx-runtime")
