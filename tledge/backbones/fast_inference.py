"""A frozen function of photos on LiteRT with XNNPACK, which a CPU runs several times faster than TensorFlow."""

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
TOLERANCE = 1e-4  # of the output range, as for a transplanted backbone


def convert_function(function: Any, input_size: int) -> bytes:
    """A tf.function of photos, uint8 (N, S, S, 3), as a LiteRT model of one photo.

    The newer converter interface would save a SavedModel and load it again first, which takes four times as long.
    """
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    tf = tensorflow()
    traced = function.get_concrete_function(tf.TensorSpec([1, input_size, input_size, 3], tf.uint8))
    frozen = convert_variables_to_constants_v2(traced, lower_control_flow=False)
    graph = frozen.graph.as_graph_def()
    return bytes(tf.compat.v1.lite.TFLiteConverter(graph, frozen.inputs, frozen.outputs).convert())


def answers(model: bytes, batches: Iterable[Pixels]) -> Iterator[Floats]:
    """The outputs of batches of photos, uint8 (n, S, S, 3) to float32 (n, ...), in order; an interpreter a core."""
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
    """The largest difference, the range of what is expected, and whether the first is within the tolerance."""
    with np.errstate(invalid="ignore"):  # infinity less infinity is no proof of anything
        largest, output_range = float(np.max(np.abs(actual - expected))), float(np.ptp(expected))
    return largest, output_range, largest <= TOLERANCE * output_range  # not so where one of them is NaN
