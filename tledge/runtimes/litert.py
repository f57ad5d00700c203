"""This runtime is LiteRT (TensorFlow Lite) with its XNNPACK delegate, on the CPU."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tledge.runtimes.litert_layers import LiteRTLayers
from tledge.runtimes.quantized_values import dequantize
from tledge.runtimes.runtime import Runtime

XNNPACK, BUILTIN, REFERENCE = "XNNPACK", "built-in", "reference"


class LiteRTSession:
    """A ``LiteRTSession`` runs one model in one LiteRT interpreter. Threads must not share it."""

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
        """Answer one photo, uint8 RGB (1, S, S, 3), with real values, float32 (C,)."""
        self._interpreter.set_tensor(self._input["index"], pixels)
        self._interpreter.invoke()
        return dequantize(self._interpreter.get_tensor(self._output["index"])[0], self._output["quantization"])


RUNTIME = Runtime(
    name="litert",
    suffixes=(".tflite",),
    kernels=(XNNPACK, BUILTIN, REFERENCE),
    load=LiteRTSession,
    libraries=("ai-edge-litert",),
    rank=10,
    layers=LiteRTLayers,
    takes_any_input=True,
)
