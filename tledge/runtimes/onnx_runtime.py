"""This runtime is ONNX Runtime with its CPU execution provider."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tledge.runtimes.onnx_runtime_layers import OnnxLayers
from tledge.runtimes.onnx_session import LEVELS, session
from tledge.runtimes.runtime import Runtime


class OnnxRuntimeSession:
    """A session is one inference session of ONNX Runtime."""

    def __init__(self, model: bytes, num_threads: int, kernels: str = "optimized") -> None:
        self._session = session(model, num_threads, kernels)
        (self._input,) = (tensor.name for tensor in self._session.get_inputs())
        (self._output,) = (tensor.name for tensor in self._session.get_outputs())

    def predict(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Answer one photo, uint8 RGB (1, S, S, 3), with float32 (C,)."""
        (probabilities,) = self._session.run([self._output], {self._input: pixels})
        return np.asarray(probabilities[0], np.float32)


RUNTIME = Runtime(
    name="onnxruntime",
    suffixes=(".onnx",),
    kernels=tuple(LEVELS),
    load=OnnxRuntimeSession,
    libraries=("onnxruntime",),
    rank=10,
    layers=OnnxLayers,
    cuts_sums_off=True,
    takes_any_input=True,
)
