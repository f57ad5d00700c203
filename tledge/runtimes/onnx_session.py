"""This module opens a model in ONNX Runtime, on the CPU and from its bytes alone."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnxruntime

# These are the graph-optimization levels, with ONNX Runtime's names for them.
LEVELS = {
    "optimized": "ORT_ENABLE_ALL",
    "extended": "ORT_ENABLE_EXTENDED",
    "basic": "ORT_ENABLE_BASIC",
    "not optimized": "ORT_DISABLE_ALL",
}


def session(model: bytes, num_threads: int, kernels: str = "optimized") -> onnxruntime.InferenceSession:
    """Open a session on the bytes of a model. Weights that it keeps in other files are not looked for."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, LEVELS[kernels])
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # By default ONNX Runtime looks for them in the working directory. Below a path that is no folder there is no file.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
