"""For a CPU that adds products of codes in 16 bits, the weights of ONNX int8 files have 7 bits and the sums their room."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tledge import build, export
from tledge.compression import REDUCED_CODE
from tledge.exporters import FITTED
from tledge.exporters.material import Materials, Options
from tledge.progress import Silent
from tledge.records import ExportRecord
from tledge.run import Run, open_run
from tledge.training.recipe import resolve
from tledge.verification import targets

Exported = tuple[Run, dict[str, ExportRecord]]
OPTIONS = Options(reduce_range=True, epochs=1)


def _weights(run: Run, name: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """The codes of every int8 weight of an ONNX file, output channels first, and their scales."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(run.export_folder(name) / "model.onnx").graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    found = []
    for node in graph.node:
        codes = constants.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if codes is not None and codes.dtype == np.int8:
            axis = next((part.i for part in node.attribute if part.name == "axis"), 0)
            found.append((np.moveaxis(codes, axis, 0), constants[node.input[1]]))
    return found


@pytest.fixture(scope="module")
def lenet(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A small run whose layers are known, trained for one epoch."""
    recipe = resolve("scratch", {"max_epochs": 1, "batch_size": 32})
    return build("digits", backbone="lenet", recipe=recipe, run="lenet", artifacts=tmp_path_factory.mktemp("lenet"))


@pytest.fixture(scope="module")
def reduced(lenet: Run, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The run with int8 of both families, made for a CPU whose sums saturate."""
    root = tmp_path_factory.mktemp("reduced")
    shutil.copytree(lenet.folder, root / "lenet")
    run = open_run(root, "lenet")
    names = ["onnx-int8", "onnx-int8-qat", "tflite-int8"]
    return run, {record.format: record for record in export(run, names, options=OPTIONS)}


def test_two_products_of_the_largest_codes_fit_into_16_bits() -> None:
    assert 2 * 255 * REDUCED_CODE < 2**15 <= 2 * 255 * (REDUCED_CODE + 1)


@pytest.mark.parametrize("name", ["onnx-int8", "onnx-int8-qat"])
def test_every_weight_is_a_code_of_7_bits_and_the_largest_of_a_channel_is_the_last_code(
    reduced: Exported, name: str
) -> None:
    weights = _weights(reduced[0], name)
    assert len(weights) == 5
    for codes, _ in weights:
        largest = np.abs(codes.astype(int)).reshape(len(codes), -1).max(axis=1)
        assert set(largest) <= {0, REDUCED_CODE}
    assert reduced[1][name].options["weight_codes"] == "-64 to 64"


def test_the_weights_were_fitted_to_these_codes_and_not_rounded_once_more(reduced: Exported) -> None:
    material = Materials(reduced[0], OPTIONS, Silent())
    prepared = material.of(FITTED, saturates=True).prepared
    assert prepared is not None
    kernels = [layer.get_weights()[0] for layer in prepared.network.layers if layer.get_weights()]
    written = [
        codes * scales.reshape(-1, *[1] * (codes.ndim - 1)) for codes, scales in _weights(reduced[0], "onnx-int8")
    ]
    assert sorted(np.abs(kernel).sum() for kernel in kernels) == pytest.approx(
        sorted(np.abs(values).sum() for values in written), rel=1e-5
    )


def test_a_format_whose_runtime_never_saturates_is_as_without(lenet: Run, reduced: Exported) -> None:
    (without,) = export(lenet, ["tflite-int8"])
    assert reduced[1]["tflite-int8"].sha256 == without.sha256
    assert "weight_codes" not in without.options


def test_weights_of_unknown_layers_are_rounded_to_7_bits(small_run: Run, tmp_path: Path) -> None:
    shutil.copytree(small_run.folder, tmp_path / "plain")
    run = open_run(tmp_path, "plain")
    export(run, ["onnx-int8"], options=Options(reduce_range=True))
    assert {int(np.abs(codes.astype(int)).max()) for codes, _ in _weights(run, "onnx-int8")} == {REDUCED_CODE}


def test_the_target_decides(small_run: Run, tmp_path: Path, tledge: Callable[..., Any]) -> None:
    shutil.copytree(small_run.folder, tmp_path / "runs" / "plain")
    (tmp_path / "runs" / "latest").write_text("plain\n")
    own = tmp_path / "own.toml"
    cpu = (targets.folder() / "cpu.toml").read_text(encoding="utf-8")
    own.write_text(cpu.replace("int8_saturates = false", "int8_saturates = true"), encoding="utf-8")
    for target, is_reduced in (("cpu", False), (own, True)):
        ended = tledge("export", "--format", "onnx-int8", "--target", target, "--artifacts", tmp_path / "runs")
        assert ended.code == 0, ended.err
        record = open_run(tmp_path / "runs", "plain").export_record("onnx-int8")
        assert ("weight_codes" in record.options) == is_reduced, target


def test_an_unknown_target_is_exit_code_2_with_the_nearest_and_nothing_is_made(
    small_run: Run, tledge: Callable[..., Any]
) -> None:
    ended = tledge(
        "export", "--format", "onnx-int8", "--target", "raspberry-pi", "--artifacts", small_run.folder.parent
    )
    assert ended.code == 2
    assert "Did you mean 'raspberry-pi-" in ended.err
