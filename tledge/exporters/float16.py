"""Where float16 ends: a weight beyond it has no counterpart there."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.errors import PromiseBroken

_LARGEST = float(np.finfo(np.float16).max)


def require_within(name: str, values: npt.NDArray[Any]) -> None:
    """Raise PromiseBroken that names a constant with a weight beyond float16, before its values are converted."""
    largest = float(np.max(np.abs(values), initial=0))
    if not largest <= _LARGEST:
        raise _beyond(name, f"{largest:g}")


def require_unclipped(model: bytes) -> None:
    """Raise PromiseBroken that names a float16 constant of a TFLite model with a weight that was beyond float16.

    TensorFlow's converter puts the largest float16 in its place and says nothing, so that one is taken for a weight beyond.
    """
    from tledge.audit.flatbuffer import read_tflite

    for graph in read_tflite(model).subgraphs:
        for tensor in graph.tensors:
            if tensor.data_type == "FLOAT16" and tensor.num_bytes:
                largest = float(np.max(np.abs(tensor.data.view(np.float16).astype(np.float32))))
                if not largest < _LARGEST:
                    raise _beyond(tensor.name, f"{_LARGEST:g} or more")


def _beyond(name: str, held: str) -> PromiseBroken:
    return PromiseBroken(
        f"the constant {name} holds {held}, and float16 ends at {_LARGEST:g}. "
        "Nothing was written; choose a float32 or int8 format."
    )
