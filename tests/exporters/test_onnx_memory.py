"""The conversion to ONNX holds a few copies of a network's weights, however often tf2onnx passes over its graph."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tledge.exporters.onnx_graph import of_function

STATUS = Path("/proc/self/status")
SIZE, WIDTH = 8, 30_000


def _own_bytes() -> int:
    """The memory of this process that is no page of a file."""
    found = re.search(r"RssAnon:\s+(\d+)", STATUS.read_text())
    assert found
    return 1024 * int(found[1])


@pytest.mark.skipif(not STATUS.exists(), reason="needs Linux to tell memory apart")
def test_a_conversion_to_onnx_takes_fewer_than_thirty_copies_of_the_weights() -> None:
    from tledge.tensorflow_setup import tensorflow

    tf = tensorflow(seed=0)
    draw = np.random.default_rng(0)
    weights = tf.Variable(draw.normal(0, 1, (SIZE * SIZE * 3, WIDTH)).astype(np.float32))
    few = tf.Variable(draw.normal(0, 1, (WIDTH, 2)).astype(np.float32))

    def converted(network: Any) -> Any:
        return of_function(lambda pixels: tf.nn.softmax(network(tf.reshape(pixels, (1, -1)))), SIZE, "float32")

    converted(lambda values: values[:, :2])  # what imports take is not the conversion's
    before, most, ended = _own_bytes(), [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.005):
            most[0] = max(most[0], _own_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        made = converted(lambda values: tf.nn.relu(values @ weights) @ few)
    finally:
        ended.set()
        watcher.join()
    size = made.ByteSize()
    assert size > 4 * SIZE * SIZE * 3 * WIDTH
    assert most[0] - before < 30 * size, f"{(most[0] - before) / size:.1f} copies"
