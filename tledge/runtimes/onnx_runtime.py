"""ONNX Runtime with its CPU execution provider."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tledge.runtimes import Runtime

if TYPE_CHECKING:
    import onnxruntime

# Graph-optimization levels, by ONNX Runtime's own names for them.
_LEVELS = {
    "optimized": "ORT_ENABLE_ALL",
    "extended": "ORT_ENABLE_EXTENDED",
    "basic": "ORT_ENABLE_BASIC",
    "not optimized": "ORT_DISABLE_ALL",
}


def session(model: bytes, num_threads: int, kernels: str = "optimized") -> onnxruntime.InferenceSession:
    """A session on these bytes alone: weights that they say are in other files are not looked for."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, _LEVELS[kernels])
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # By default they are looked for in the working directory. No file can be below one that is no folder.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class OnnxRuntimeSession:
    """One inference session."""

    def __init__(self, model: bytes, num_threads: int, kernels: str = "optimized") -> None:
        self._session = session(model, num_threads, kernels)
        (self._input,) = (tensor.name for tensor in self._session.get_inputs())
        (self._output,) = (tensor.name for tensor in self._session.get_outputs())

    def predict(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """uint8 RGB (1, S, S, 3) to float32 (C,)."""
        (probabilities,) = self._session.run([self._output], {self._input: pixels})
        return np.asarray(probabilities[0], np.float32)


RUNTIME = Runtime("onnxruntime", ".onnx", "onnxruntime", tuple(_LEVELS), OnnxRuntimeSession)
