"""This module runs a frozen function of photos by LiteRT with XNNPACK, several times faster on a CPU than TensorFlow."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.machine import usable_cores
from tledge.preprocessing import Pixels
from tledge.runtimes.litert import LiteRTSession
from tledge.tensorflow_setup import tensorflow

Floats = npt.NDArray[np.float32]
TOLERANCE = 1e-4  # a share of the output range; MobileNetV2 graphs that replace a module have the same


def convert_function(function: Any, input_size: int) -> bytes:
    """Convert a tf.function of photos, uint8 (N, S, S, 3), to a LiteRT model of one photo.

    The newer interface of the converter would first save a SavedModel and load it again, which takes four times as long.
    """
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    tf = tensorflow()
    traced = function.get_concrete_function(tf.TensorSpec([1, input_size, input_size, 3], tf.uint8))
    frozen = convert_variables_to_constants_v2(traced, lower_control_flow=False)
    graph = frozen.graph.as_graph_def()
    return bytes(tf.compat.v1.lite.TFLiteConverter(graph, frozen.inputs, frozen.outputs).convert())


def answers(model: bytes, batches: Iterable[Pixels]) -> Iterator[Floats]:
    """Run a model on batches of photos, uint8 (n, S, S, 3), and yield outputs, float32 (n, ...), in order.

    Each core has an interpreter.
    """
    local = threading.local()

    def work(batch: Pixels) -> Floats:
        if not hasattr(local, "session"):
            local.session = LiteRTSession(model, num_threads=1)
        return np.stack([local.session.predict(photo[None]) for photo in batch])

    pending: deque[Future[Floats]] = deque()
    with ThreadPoolExecutor(usable_cores()) as pool:
        for batch in batches:
            pending.append(pool.submit(work, batch))
            if len(pending) > 2 * usable_cores():
                yield pending.popleft().result()
        for future in pending:
            yield future.result()


def difference(actual: Floats, expected: Floats) -> tuple[float, float, bool]:
    """Return the largest absolute difference, the range of ``expected``, and whether the difference is within tolerance.

    ``TOLERANCE`` is a share of the range. A difference of NaN is outside it.
    """
    with np.errstate(invalid="ignore"):  # infinity minus infinity is NaN
        largest, output_range = float(np.max(np.abs(actual - expected))), float(np.ptp(expected))
    return largest, output_range, largest <= TOLERANCE * output_range  # False where one of them is NaN
