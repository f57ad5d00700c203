"""This module finds weights that are too large for float16."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.errors import PromiseBroken

_LARGEST = float(np.finfo(np.float16).max)


def require_within(name: str, values: npt.NDArray[Any]) -> None:
    """Raise PromiseBroken where a constant that is about to be converted holds a weight beyond float16's range."""
    largest = float(np.max(np.abs(values), initial=0))
    if not largest <= _LARGEST:
        raise _beyond(name, f"{largest:g}")


def require_unclipped(model: bytes) -> None:
    """Raise PromiseBroken where a float16 constant of a TFLite model holds a weight that was beyond float16's range.

    TensorFlow's converter replaces such a weight by the largest float16 without a warning. So a weight of that value counts
    as one that was too large.
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
        "Nothing was written. Choose a float32 or int8 format."
    )
