"""The original and the artifacts answer photos in blocks, each block in a process of its own."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_models import replace_artifact, rewrite_onnx

from tledge.bench.answers import softmax
from tledge.bench.bench import Runnable
from tledge.cache import cache_root
from tledge.datasets.run_photos import load_split
from tledge.errors import ArtifactError, EnvironmentFault, InputError
from tledge.inference.run_model import RunModel, open_model
from tledge.preprocessing import Pixels
from tledge.progress import Silent
from tledge.records import ExportRecord
from tledge.run import Run
from tledge.runtimes import runtime
from tledge.stages import export, verify
from tledge.verification.measurement import Wanted

Exported = tuple[Run, dict[str, ExportRecord]]


def _photos(count: int, size: int) -> list[Pixels]:
    return list(np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8))


def _answers(model: RunModel, photos: list[Pixels]) -> tuple[list[int], np.ndarray]:
    blocks = list(model.answers(enumerate(photos), len(photos), Silent()))
    return [mark for marks, _ in blocks for mark in marks], np.concatenate([rows for _, rows in blocks])


@pytest.mark.parametrize("block_photos", [2, 5, 100])
def test_blocks_of_any_size_give_each_photo_the_answer_of_its_artifact(
    exported: Exported, monkeypatch: pytest.MonkeyPatch, block_photos: int
) -> None:
    model = open_model(exported[0], format_name="tflite-int8")
    monkeypatch.setattr("tledge.inference.run_model.BLOCK_BYTES", block_photos * 3 * model.input_size**2)
    photos = _photos(5, model.input_size)
    marks, found = _answers(model, photos)
    session = runtime("litert").load(model.runnable.path.read_bytes(), 1, "XNNPACK")
    assert marks == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(found, np.stack([session.predict(photo[None]) for photo in photos]))


@pytest.mark.long
def test_the_original_gives_the_probabilities_of_its_stored_logits(built: Run) -> None:
    model, test = open_model(built), load_split(built, "test", Silent())
    with np.load(built.folder / "reference.npz") as stored:
        expected = softmax(stored["logits"][:40])
    _, found = _answers(model, list(test.pixels[:40]))
    assert (model.name, model.runnable.name) == ("original", "original")
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_no_photos_have_no_answers_and_start_nothing(exported: Exported) -> None:
    assert list(open_model(exported[0], format_name="tflite-int8").answers([], 1, Silent())) == []


def test_who_stops_half_way_leaves_no_files_behind(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    model = open_model(exported[0], format_name="onnx-int8")
    monkeypatch.setattr("tledge.inference.run_model.BLOCK_BYTES", 1)
    with contextlib.closing(model.answers(enumerate(_photos(3, model.input_size)), 3, Silent())) as blocks:
        assert next(blocks)[0] == [0]
        assert list((cache_root() / "scratch").iterdir())
    assert list((cache_root() / "scratch").iterdir()) == []


def test_a_disk_without_room_for_a_block_is_said_before_a_photo_is_read(
    exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    def photos() -> Iterator[Any]:
        raise AssertionError("read")
        yield

    monkeypatch.setattr("tledge.inference.run_model.BLOCK_BYTES", 2**60)
    with pytest.raises(EnvironmentFault, match="no space left on the disk"):
        next(open_model(exported[0], format_name="onnx-int8").answers(photos(), 2**50, Silent()))


def test_an_artifact_that_answers_nan_is_named(run_copy: Run) -> None:
    def change(model: Any) -> None:
        for tensor in model.graph.initializer:
            if tensor.data_type == 1:  # float32
                tensor.raw_data = np.full(len(tensor.raw_data) // 4, np.nan, np.float32).tobytes()

    data = (run_copy.export_folder("onnx-float32") / "model.onnx").read_bytes()
    replace_artifact(run_copy, "onnx-float32", rewrite_onnx(data, change))
    model = open_model(run_copy, format_name="onnx-float32")
    with pytest.raises(
        ArtifactError, match=r"onnx-float32/model\.onnx: gives no answers .*: the output holds NaN .*tledge verify"
    ):
        _answers(model, _photos(2, model.input_size))


def test_an_artifact_that_does_not_run_is_named_with_what_its_process_said(run_copy: Run) -> None:
    def change(model: Any) -> None:
        model.graph.node[-1].op_type = "NoSuchOperator"

    data = (run_copy.export_folder("onnx-int8") / "model.onnx").read_bytes()
    replace_artifact(run_copy, "onnx-int8", rewrite_onnx(data, change))
    model = open_model(run_copy, format_name="onnx-int8")
    with pytest.raises(
        ArtifactError, match=r"onnx-int8/model\.onnx: gives no answers that can be used on this machine: .+"
    ):
        _answers(model, _photos(1, model.input_size))


@pytest.fixture
def lenet_as_onnx(lenet_copy: Run) -> Run:
    """LeNet with one artifact."""
    export(lenet_copy, ["onnx-float32"])
    return lenet_copy


def test_an_artifact_that_is_no_model_is_not_run(lenet_as_onnx: Run) -> None:
    replace_artifact(lenet_as_onnx, "onnx-float32", b"not a model")
    with pytest.raises(ArtifactError, match=r"onnx-float32/model\.onnx: not an ONNX model"):
        open_model(lenet_as_onnx, format_name="onnx-float32")


def test_weights_beside_an_artifact_are_read_on_no_road(lenet_as_onnx: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run = lenet_as_onnx

    def change(model: Any) -> None:
        for tensor in model.graph.initializer:
            if tensor.raw_data:
                (folder / tensor.name.replace("/", "_")).write_bytes(tensor.raw_data)
                tensor.external_data.add(key="location", value=tensor.name.replace("/", "_"))
                tensor.ClearField("raw_data")
                tensor.data_location = 1  # outside the file

    folder = run.export_folder("onnx-float32")
    replace_artifact(run, "onnx-float32", rewrite_onnx((folder / "model.onnx").read_bytes(), change))
    monkeypatch.chdir(folder)  # where ONNX Runtime would find them
    with pytest.raises(ArtifactError, match="keeps weights outside the file"):
        open_model(run, format_name="onnx-float32")
    model = Runnable("outside", folder / "model.onnx", "onnxruntime")
    with pytest.raises(ArtifactError, match="gives no answers that can be used on this machine"):
        _answers(RunModel(run, "onnx-float32", model, None), _photos(1, run.manifest.backbone.input_size))
    verified = verify(run, wanted=Wanted(accuracy_only=True))
    (row,) = verified.rows
    assert row.verdict == "failed"
    assert row.drift is None
    assert any("keeps weights outside the file" in check.reason for check in row.checks)


@pytest.mark.parametrize("file", ["../../../outside.onnx", "{folder}/outside.onnx", "..", "inner/model.onnx", ""])
def test_an_artifact_is_a_plain_file_of_its_own_folder(lenet_as_onnx: Run, file: str) -> None:
    run, root = lenet_as_onnx, lenet_as_onnx.folder.parent
    folder = run.export_folder("onnx-float32")
    outside = shutil.copy(folder / "model.onnx", root / "outside.onnx")
    (folder / "inner").mkdir()
    shutil.copy(outside, folder / "inner" / "model.onnx")
    record = run.export_record("onnx-float32").model_copy(update={"file": file.format(folder=root)})
    record.save(folder / "export.json")  # sealed, and of the same content
    with pytest.raises(ArtifactError, match=r"export\.json: .*file.*Export it again"):
        open_model(run, format_name="onnx-float32")
    (row,) = verify(run, wanted=Wanted(accuracy_only=True)).rows
    assert row.verdict == "failed"
    assert "export.json" in (row.error or "")


def test_an_artifact_that_was_changed_since_its_export_is_not_run(run_copy: Run) -> None:
    (run_copy.export_folder("onnx-int8") / "model.onnx").write_bytes(b"changed")
    with pytest.raises(ArtifactError, match="changed or cut short since it was written"):
        open_model(run_copy, format_name="onnx-int8")


@pytest.mark.parametrize(
    ("artifact", "chosen", "message"),
    [
        ("tflite-int9", None, "unknown artifact of run digits 'tflite-int9'. Did you mean 'tflite-int8'.*onnx-int8"),
        ("../digits", None, "unknown artifact"),
        ("onnx-int8", "litert", "litert does not run model.onnx, .*Use --runtime onnxruntime"),
        ("onnx-int8", "onnx", "unknown runtime 'onnx'. Did you mean 'onnxruntime'"),
        (None, "litert", "--runtime litert is for an artifact"),
    ],
)
def test_a_wrong_name_is_an_error_that_knows_the_right_ones(
    exported: Exported, artifact: str | None, chosen: str | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        open_model(exported[0], format_name=artifact, runtime=chosen)


def test_a_run_is_opened_by_its_name_in_its_folder(exported: Exported, tmp_path: Path) -> None:
    run = exported[0]
    model = open_model("digits", format_name="onnx-int8", runtime="onnxruntime", artifacts=run.folder.parent)
    assert (model.run.folder, model.runnable.name, model.labels[3]) == (run.folder, "onnx-int8 on onnxruntime", "3")
    with pytest.raises(InputError, match="no run in"):
        open_model(artifacts=tmp_path)
