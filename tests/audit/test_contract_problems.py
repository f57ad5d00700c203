"""What a file says of its own labels and input, against what its run says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_models import rewrite_onnx, rewrite_tflite

from tledge.audit.contract import contract_problems
from tledge.errors import ArtifactError
from tledge.pixel_range import PixelRange
from tledge.records import ExportRecord
from tledge.run import Run

Exported = tuple[Run, dict[str, ExportRecord]]
Changed = Callable[[Callable[[Any], Any]], Path]

pytestmark = pytest.mark.parametrize("format_name", ["tflite-int8", "onnx-float32"])


@pytest.fixture
def path(exported: Exported, format_name: str) -> Path:
    run, records = exported
    return run.export_folder(format_name) / records[format_name].file


def _with_metadata(data: bytes, suffix: str, change: Callable[[str], str | None]) -> bytes:
    """The same artifact with its metadata text changed, or without it."""

    def in_tflite(model: Any) -> None:
        (entry,) = [entry for entry in model.metadata if entry.name in (b"TLEDGE_METADATA", "TLEDGE_METADATA")]
        text = change(bytes(model.buffers[entry.buffer].data).decode())
        if text is None:
            model.metadata.remove(entry)
        else:
            model.buffers[entry.buffer].data = np.frombuffer(text.encode(), np.uint8)

    def in_onnx(model: Any) -> None:
        (entry,) = [entry for entry in model.metadata_props if entry.key == "tledge"]
        text = change(entry.value)
        if text is None:
            model.metadata_props.remove(entry)
        else:
            entry.value = text

    return rewrite_tflite(data, in_tflite) if suffix == ".tflite" else rewrite_onnx(data, in_onnx)


@pytest.fixture
def problems(exported: Exported, path: Path, tmp_path: Path) -> Callable[[Callable[[str], str | None]], str]:
    """What is said of the artifact after a change of its metadata text."""
    manifest = exported[0].manifest

    def run(change: Callable[[str], str | None]) -> str:
        changed = tmp_path / path.name
        changed.write_bytes(_with_metadata(path.read_bytes(), path.suffix, change))
        return " ".join(contract_problems(changed, manifest.labels, manifest.backbone.input_size))

    return run


def _labels(order: Callable[[list[str]], list[str]]) -> Callable[[str], str]:
    def change(text: str) -> str:
        inside = json.loads(text)
        return json.dumps({**inside, "labels": order(inside["labels"])})

    return change


def test_an_exported_artifact_has_no_problem(exported: Exported, path: Path) -> None:
    manifest = exported[0].manifest
    assert contract_problems(path, manifest.labels, manifest.backbone.input_size) == []


def test_another_range_of_16_bit_photos_is_named(
    exported: Exported, path: Path, problems: Callable[[Any], str]
) -> None:
    manifest = exported[0].manifest

    def ranged(text: str) -> str:
        inside = json.loads(text)
        return json.dumps({**inside, "input": {**inside["input"], "pixel_range": [0, 4095]}})

    assert problems(ranged) == "The file's metadata says the range [0, 4095] of 16-bit photos, the run none."
    said = contract_problems(path, manifest.labels, manifest.backbone.input_size, PixelRange(0, 4095))
    assert said == ["The file's metadata says no range of 16-bit photos, the run 0..4095."]


def test_a_label_order_shifted_by_one_is_named(problems: Callable[[Any], str]) -> None:
    said = problems(_labels(lambda labels: labels[1:] + labels[:1]))
    assert "order shifted by 1 towards the start: output 0 is '1' in the file and '0' in the run" in said
    assert "order shifted by 1 towards the end" in problems(_labels(lambda labels: labels[-1:] + labels[:-1]))


def test_two_labels_that_changed_places_are_named(problems: Callable[[Any], str]) -> None:
    said = problems(_labels(lambda labels: [*labels[:2], labels[3], labels[2], *labels[4:]]))
    assert "in another order than the run's: output 2 is '3' in the file and '2' in the run" in said


def test_other_labels_and_another_number_of_them_are_named(problems: Callable[[Any], str]) -> None:
    assert "does not know 'cat'" in problems(_labels(lambda labels: ["cat", *labels[1:]]))
    assert "names 9 labels, the run has 10" in problems(_labels(lambda labels: labels[1:]))
    assert "not a list of names" in problems(_labels(lambda labels: [1, 2]))  # type: ignore[list-item]


def test_missing_or_unreadable_metadata_is_named(problems: Callable[[Any], str]) -> None:
    assert "holds no metadata of tledge" in problems(lambda text: None)
    for text in ("", "{", "[]", "{}", '{"labels": []}', "[" * 100_000):
        assert "metadata can't be read" in problems(lambda _, text=text: text)


def test_another_input_in_the_metadata_is_named(problems: Callable[[Any], str]) -> None:
    assert "the run says 'uint8 RGB" in problems(lambda text: text.replace("uint8 RGB", "uint8 BGR"))


def test_another_input_size_or_number_of_classes_than_the_runs_is_named(exported: Exported, path: Path) -> None:
    manifest = exported[0].manifest
    size = manifest.backbone.input_size
    said = " ".join(contract_problems(path, manifest.labels, size + 1))
    assert f"uint8 [1, {size}, {size}, 3], the run one uint8 image of [1, {size + 1}, {size + 1}, 3]" in said
    said = " ".join(contract_problems(path, manifest.labels[:-1], size))
    assert "[1, 10], and the run's 9 labels want [1, 9]" in said
    assert "names 10 labels, the run has 9" in said


def test_another_input_type_is_named(exported: Exported, path: Path, tmp_path: Path) -> None:
    manifest = exported[0].manifest

    def tflite_int8(model: Any) -> None:
        model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]].type = 9  # INT8

    def onnx_int8(model: Any) -> None:
        model.graph.input[0].type.tensor_type.elem_type = 3  # INT8

    data = path.read_bytes()
    changed = tmp_path / path.name
    changed.write_bytes(
        rewrite_tflite(data, tflite_int8) if path.suffix == ".tflite" else rewrite_onnx(data, onnx_int8)
    )
    (said,) = contract_problems(changed, manifest.labels, manifest.backbone.input_size)
    assert "The file takes int8 [1, " in said


def test_what_is_no_model_is_an_artifact_error(path: Path, tmp_path: Path) -> None:
    cut = tmp_path / path.name
    cut.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ArtifactError, match=path.name):
        contract_problems(cut, ["a"], 8)
