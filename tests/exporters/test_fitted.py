"""int8 artifacts of a network whose layers are known hold its fitted weights, and both formats the same ones."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from tledge.records import ExportRecord
from tledge.run import Run
from tledge.stages import export

INT8 = ("tflite-int8", "onnx-int8")
Exported = tuple[Run, dict[str, ExportRecord]]


@pytest.mark.parametrize("name", INT8)
def test_the_record_says_how_the_network_was_prepared(exported: Exported, name: str) -> None:
    options = exported[1][name].options
    assert re.fullmatch(r"least squares, \d+ of 53 layers", options["fitting"])
    assert options["ranges"] == "mse"


def test_both_formats_answer_alike(exported: Exported, answers_to_test_photos: Callable[..., np.ndarray]) -> None:
    tflite, onnx = (answers_to_test_photos(exported[0], name) for name in INT8)
    assert np.mean(tflite.argmax(1) == onnx.argmax(1)) >= 0.99
    assert np.abs(tflite - onnx).mean() < 0.005


def test_no_operator_scales_the_pixels(exported: Exported) -> None:
    for name in INT8:
        operators = {operator.name.upper() for operator in exported[1][name].audit.operators}
        assert not operators & {"MUL", "SUB", "DIV"}, name


@pytest.mark.long  # it fits MobileNetV2 again
def test_exporting_twice_gives_the_same_bytes(exported: Exported, run_copy: Run) -> None:
    again = {made.format: made.sha256 for made in export(run_copy, list(INT8))}
    assert again == {name: exported[1][name].sha256 for name in INT8}
