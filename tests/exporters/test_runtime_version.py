"""The oldest runtime that a TFLite file needs: kept low, read from the file, and told."""

from __future__ import annotations

from typing import Any

import pytest
from small_models import int8_tflite, rewrite_tflite

from tledge.audit.tflite import RUNTIME_NAME, audit_tflite
from tledge.run import Run
from tledge.stages import export


def _version(text: str | None) -> tuple[int, ...]:
    assert text is not None
    return tuple(map(int, text.split(".")))


def test_dynamic_range_runs_in_the_last_tflite_runtime_and_says_so(lenet_copy: Run) -> None:
    (made,) = export(lenet_copy, ["tflite-dynamic"])
    assert (2, 0) <= _version(made.audit.min_runtime_version) <= (2, 14)
    assert lenet_copy.export_record(made.format).audit.min_runtime_version == made.audit.min_runtime_version
    # The dense layers, but for the last, whose few weights stay float.
    assert made.audit.weight_granularity["per-tensor"] == 2


def test_int16_says_the_version_of_its_kernels_and_not_that_of_the_float_graph(small_run: Run) -> None:
    (made,) = export(small_run, ["tflite-int16x8"])
    assert made.audit.min_runtime_version == "2.4.0"


@pytest.mark.parametrize(
    ("written", "read"),
    [(b"2.4.0\0\0\0", "2.4.0"), (b"", None), (b"\xff\xfe", None), (b"2.4.0\nverdict: passed", None), (b"9" * 99, None)],
)
def test_what_is_no_version_in_a_file_is_not_told(written: bytes, read: str | None) -> None:
    import numpy as np

    def rewrite(model: Any) -> None:
        (number,) = [entry.buffer for entry in model.metadata if entry.name == RUNTIME_NAME.encode()]
        model.buffers[number].data = np.frombuffer(written, np.uint8)

    assert audit_tflite(rewrite_tflite(int8_tflite(), rewrite)).min_runtime_version == read
