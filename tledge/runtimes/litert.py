"""LiteRT (TensorFlow Lite) with its XNNPACK delegate, on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.runtimes import Runtime

XNNPACK, BUILTIN, REFERENCE = "XNNPACK", "built-in", "reference"


class LiteRTSession:
    """One interpreter; not to be shared between threads."""

    def __init__(self, model: bytes, num_threads: int, kernels: str = XNNPACK) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        resolver = {
            XNNPACK: OpResolverType.AUTO,
            BUILTIN: OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            REFERENCE: OpResolverType.BUILTIN_REF,
        }[kernels]
        self._interpreter = Interpreter(
            model_content=model, num_threads=num_threads, experimental_op_resolver_type=resolver
        )
        self._interpreter.allocate_tensors()
        (self._input,) = self._interpreter.get_input_details()
        (self._output,) = self._interpreter.get_output_details()

    def predict(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """uint8 RGB (1, S, S, 3) to float32 (C,)."""
        self._interpreter.set_tensor(self._input["index"], pixels)
        self._interpreter.invoke()
        return dequantize(self._interpreter.get_tensor(self._output["index"])[0], self._output["quantization"])


def dequantize(codes: npt.NDArray[Any], quantization: tuple[float, int]) -> npt.NDArray[np.float32]:
    """Real values of quantized codes: scale * (code - zero_point); floats pass through.

    Jacob et al., 2018 (arXiv:1712.05877), equation 1. The codes are widened first: in 8 bits the difference wraps.
    """
    if np.issubdtype(codes.dtype, np.floating):
        return codes.astype(np.float32)
    scale, zero_point = quantization
    return (np.float32(scale) * (codes.astype(np.int32) - zero_point)).astype(np.float32)


RUNTIME = Runtime("litert", ".tflite", "ai-edge-litert", (XNNPACK, BUILTIN, REFERENCE), LiteRTSession)
