"""ONNX int8 files answer the same on every CPU: weights whose products are added in 16 bits leave them room."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from other_cpu import answers_without_vnni, exact_answers

from tledge.audit import audit
from tledge.datasets.run_photos import load_split
from tledge.errors import PromiseBroken
from tledge.exporters import formats
from tledge.exporters.materials import Materials
from tledge.exporters.options import Options
from tledge.int8_pairs import LARGEST_SUM
from tledge.progress import Silent
from tledge.records import ExportRecord
from tledge.run import Run, open_run
from tledge.stages import export
from tledge.verification import targets

Exported = tuple[Run, dict[str, ExportRecord]]
ONE_CODE = 1.01 / 255  # of a probability
STATIC = ["onnx-int8", pytest.param("onnx-int8-qat", marks=pytest.mark.long)]  # one of them is trained


@pytest.fixture(scope="module")
def unbounded(lenet: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run with int8 of both families, made for CPUs that add products in 32 bits."""
    root = tmp_path_factory.mktemp("unbounded")
    shutil.copytree(lenet.folder, root / "lenet")
    run = open_run(root, "lenet")
    export(run, ["onnx-int8", "tflite-int8"], options=Options(int8_saturates=False))
    return run


def _largest(run: Run, name: str) -> int | None:
    return audit(run.export_folder(name) / "model.onnx").largest_pair_sum


@pytest.mark.parametrize("name", STATIC)
def test_no_pair_of_weights_is_too_large_and_the_largest_uses_the_room(exported: Exported, name: str) -> None:
    assert _largest(exported[0], name) == LARGEST_SUM
    assert exported[1][name].options["largest_pair_sum"] == LARGEST_SUM


def test_every_onnx_file_in_integers_answers_the_same_without_vnni(exported: Exported, tmp_path: Path) -> None:
    run, records = exported
    photos = np.stack(list(load_split(run, "test", Silent()).pixels[:12]))
    promises = {name: record.promise for name, record in records.items() if formats()[name].file.endswith(".onnx")}
    names = [name for name, promise in promises.items() if "float" not in promise]
    assert {"onnx-int8", "onnx-dynamic"} <= set(names)
    files = {run.export_folder(name) / records[name].file: photos for name in names}
    for path, found in answers_without_vnni(files, tmp_path).items():
        # Instructions that round once where others round twice move a code here and there: by one at the output of static
        # files, further in onnx-dynamic, whose scales follow from what is measured. Sums that are cut off move far more.
        may_differ = 0.05 if records[path.parent.name].promise == "dynamic-range int8" else ONE_CODE
        np.testing.assert_allclose(found, exact_answers(path, photos), rtol=0, atol=may_differ, err_msg=str(path))


@pytest.mark.long
def test_a_file_whose_weights_are_not_bounded_answers_otherwise_there(unbounded: Run, tmp_path: Path) -> None:
    photos = np.stack(list(load_split(unbounded, "test", Silent()).pixels[:100]))
    path = unbounded.export_folder("onnx-int8") / "model.onnx"
    found = answers_without_vnni({path: photos}, tmp_path)[path]
    assert np.abs(found - exact_answers(path, photos)).max() > 3 * ONE_CODE


@pytest.mark.long  # it fits MobileNetV2 again
def test_the_weights_were_fitted_to_the_bound_and_not_rounded_once_more(exported: Exported) -> None:
    import onnx
    from onnx import numpy_helper

    material = Materials(exported[0], Options(), Silent()).of(formats()["onnx-int8"])
    assert material is not None
    assert material.prepared is not None
    wanted = [np.abs(layer.get_weights()[0]).sum() for layer in material.prepared.network.layers if layer.get_weights()]
    graph = onnx.load(exported[0].export_folder("onnx-int8") / "model.onnx").graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    written = []
    for node in graph.node:
        weights = constants.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if weights is not None and weights.dtype == np.int8:
            axis = next((part.i for part in node.attribute if part.name == "axis"), 0)
            sizes = [-1 if place == axis else 1 for place in range(weights.ndim)]
            written.append(np.abs(weights * constants[node.input[1]].reshape(sizes)).sum())
    assert sorted(wanted) == pytest.approx(sorted(written), rel=1e-5)


def test_a_target_may_permit_all_of_8_bits(unbounded: Run) -> None:
    assert (_largest(unbounded, "onnx-int8") or 0) > LARGEST_SUM
    assert "largest_pair_sum" not in unbounded.export_record("onnx-int8").options


def test_a_format_whose_runtime_never_saturates_is_as_without(unbounded: Run, lenet_copy: Run) -> None:
    (bounded,) = export(lenet_copy, ["tflite-int8"])
    assert bounded.sha256 == unbounded.export_record("tflite-int8").sha256


def test_weights_of_unknown_layers_are_bounded_too(small_run: Run, tmp_path: Path) -> None:
    shutil.copytree(small_run.folder, tmp_path / "plain")
    run = open_run(tmp_path, "plain")
    export(run, ["onnx-int8"])
    assert _largest(run, "onnx-int8") == LARGEST_SUM


def test_the_target_decides(small_run: Run, tmp_path: Path, tledge: Callable[..., Any]) -> None:
    shutil.copytree(small_run.folder, tmp_path / "runs" / "plain")
    (tmp_path / "runs" / "latest").write_text("plain\n")
    own = tmp_path / "own.toml"
    cpu = (targets.folder() / "cpu.toml").read_text(encoding="utf-8")
    own.write_text(cpu.replace("int8_saturates = true", "int8_saturates = false"), encoding="utf-8")
    for target, is_bounded in (("cpu", True), (own, False)):
        ended = tledge("export", "--format", "onnx-int8", "--target", target, "--artifacts", tmp_path / "runs")
        assert ended.code == 0, ended.err
        record = open_run(tmp_path / "runs", "plain").export_record("onnx-int8")
        assert ("largest_pair_sum" in record.options) == is_bounded, target


def test_a_file_with_larger_pairs_than_its_record_says_breaks_its_promise(unbounded: Run) -> None:
    from tledge.audit import require_promise

    record = unbounded.export_record("onnx-int8")
    options = {**record.options, "largest_pair_sum": LARGEST_SUM}
    with pytest.raises(PromiseBroken, match="two weights whose products a CPU may add in 16 bits reach"):
        require_promise(record.audit, record.format, record.promise, record.file, options)


def test_an_unknown_target_is_exit_code_2_with_the_nearest_and_nothing_is_made(
    small_run: Run, tledge: Callable[..., Any]
) -> None:
    ended = tledge(
        "export", "--format", "onnx-int8", "--target", "raspberry-pi", "--artifacts", small_run.folder.parent
    )
    assert ended.code == 2
    assert "Did you mean 'raspberry-pi-" in ended.err
