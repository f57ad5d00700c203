"""ONNX Runtime with its CPU execution provider."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tledge.runtimes import Runtime

# Graph-optimization levels, by ONNX Runtime's own names for them.
_LEVELS = {
    "optimized": "ORT_ENABLE_ALL",
    "extended": "ORT_ENABLE_EXTENDED",
    "basic": "ORT_ENABLE_BASIC",
    "not optimized": "ORT_DISABLE_ALL",
}


class OnnxRuntimeSession:
    """One inference session."""

    def __init__(self, model: bytes, num_threads: int, kernels: str = "optimized") -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, _LEVELS[kernels])
        options.intra_op_num_threads = num_threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        (self._input,) = (tensor.name for tensor in self._session.get_inputs())
        (self._output,) = (tensor.name for tensor in self._session.get_outputs())

    def predict(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """uint8 RGB (1, S, S, 3) to float32 (C,)."""
        (probabilities,) = self._session.run([self._output], {self._input: pixels})
        return np.asarray(probabilities[0], np.float32)


RUNTIME = Runtime("onnxruntime", ".onnx", "onnxruntime", tuple(_LEVELS), OnnxRuntimeSession)
