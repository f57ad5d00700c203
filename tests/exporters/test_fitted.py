"""int8 artifacts of a network whose layers are known hold its fitted weights, and both formats the same ones."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tledge import export
from tledge.datasets.prepare import load_split
from tledge.progress import Silent
from tledge.records import ExportRecord
from tledge.run import Run
from tledge.runtimes import runtimes_for

INT8 = ("tflite-int8", "onnx-int8")
Exported = tuple[Run, dict[str, ExportRecord]]


def _answers(run: Run, name: str) -> np.ndarray:
    path = run.export_folder(name) / run.export_record(name).file
    session = runtimes_for(path)[0].load(path.read_bytes(), 1)
    return np.stack([session.predict(photo[None]) for photo in load_split(run, "test", Silent()).pixels])


@pytest.mark.parametrize("name", INT8)
def test_the_record_says_how_the_network_was_prepared(exported: Exported, name: str) -> None:
    options = exported[1][name].options
    assert re.fullmatch(r"least squares, \d+ of 53 layers", options["fitting"])
    assert options["ranges"] == "mse"


def test_both_formats_answer_alike(exported: Exported) -> None:
    tflite, onnx = (_answers(exported[0], name) for name in INT8)
    assert np.mean(tflite.argmax(1) == onnx.argmax(1)) >= 0.99
    assert np.abs(tflite - onnx).mean() < 0.005


def test_no_operator_scales_the_pixels(exported: Exported) -> None:
    for name in INT8:
        operators = {operator.name.upper() for operator in exported[1][name].audit.operators}
        assert not operators & {"MUL", "SUB", "DIV"}, name


def test_exporting_twice_gives_the_same_bytes(exported: Exported, run_copy: Run) -> None:
    again = {made.format: made.sha256 for made in export(run_copy, list(INT8))}
    assert again == {name: exported[1][name].sha256 for name in INT8}
