"""Folders of photos that are not as they should be: named, counted, and never silently lost."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tledge.outputs import MARK

INPUT = 2
Command = Callable[..., Any]


@pytest.fixture
def build(tledge: Command, tiny_backbone: Path, tmp_path: Path) -> Command:
    """``tledge build`` on a data set, with the backbone that takes no time."""

    def run(dataset: Path, *options: str | Path) -> Any:
        return tledge(
            "build", "--dataset", dataset, "--backbone", tiny_backbone, "--artifacts", tmp_path / "artifacts", *options
        )

    return run


def _runs(tmp_path: Path) -> list[str]:
    return [path.name for path in (tmp_path / "artifacts").glob("*") if path.name != MARK]


def test_an_empty_folder_says_what_is_expected(build: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    outcome = build(tmp_path / "empty")
    assert outcome.code == INPUT
    assert f"{tmp_path / 'empty'}: no class folders" in outcome.err
    assert "<class>/<photo>" in outcome.err


def test_photos_without_class_folders_are_refused(build: Command, tmp_path: Path, photo_bytes: Any) -> None:
    (tmp_path / "flat").mkdir()
    for number in range(4):
        (tmp_path / "flat" / f"{number}.png").write_bytes(photo_bytes(number))
    outcome = build(tmp_path / "flat")
    assert outcome.code == INPUT
    assert "one folder a class" in outcome.err


def test_class_folders_without_photos_are_refused(build: Command, photo_folder: Any) -> None:
    outcome = build(photo_folder({"cat": 0, "dog": 0}))
    assert outcome.code == INPUT
    assert "no photos in it" in outcome.err


def test_one_class_is_refused_by_name(build: Command, photo_folder: Any, tmp_path: Path) -> None:
    outcome = build(photo_folder({"cat": 8}))
    assert outcome.code == INPUT
    assert "one class (cat)" in outcome.err
    assert "one class (cat), and a classifier needs at least two" in outcome.err
    assert _runs(tmp_path) == []


@pytest.mark.parametrize("count", [0, 1])
def test_a_class_with_too_few_photos_is_named_with_its_count(build: Command, photo_folder: Any, count: int) -> None:
    outcome = build(photo_folder({"cat": 20, "dog": 20, "newt": count}))
    assert outcome.code == INPUT
    assert f"these have fewer: newt ({count})" in outcome.err
    assert "Add photos, or leave out the class." in outcome.err


def test_over_5_percent_unreadable_photos_are_an_error_that_names_them(build: Command, photo_folder: Any) -> None:
    folder = photo_folder({"cat": 20, "dog": 20})
    whole = (folder / "cat" / "000.png").read_bytes()
    (folder / "cat" / "torn.png").write_bytes(whole[: len(whole) // 2])
    (folder / "dog" / "notes.jpg").write_text("feed at noon")
    (folder / "dog" / "zero.jpg").write_bytes(b"")
    outcome = build(folder)
    assert outcome.code == INPUT
    assert "3 of 43 photos can't be read, over 5%" in outcome.err
    assert "cat/torn.png (OSError: image file is truncated" in outcome.err
    assert "dog/notes.jpg (no image of a format that Pillow reads)" in outcome.err
    assert "dog/zero.jpg (an empty or unreadable file)" in outcome.err
    assert "Repair or remove them" in outcome.err
    assert " at 0x" not in outcome.err


def test_unreadable_photos_are_skipped_by_name_counted_and_warned_of(
    build: Command, photo_folder: Any, tmp_path: Path
) -> None:
    folder = photo_folder({"cat": 30, "dog": 30})
    whole = (folder / "cat" / "000.png").read_bytes()
    (folder / "cat" / "torn.png").write_bytes(whole[: len(whole) // 2])
    (folder / "dog" / "notes.jpg").write_text("feed at noon")
    (folder / "dog" / "bomb.png").write_bytes(b"")
    Image.new("1", (12_000, 12_000)).save(folder / "dog" / "bomb.png")
    outcome = build(folder, "--json", "--max-epochs", "1")
    assert outcome.code == 0, outcome.err
    assert "warning: skipped 3 of 63 photos that can't be read" in outcome.err
    dataset = json.loads(outcome.out)["manifest"]["dataset"]
    assert dataset["num_photos"] == 60
    reasons = {entry["id"]: entry["reason"] for entry in dataset["skipped"]}
    assert sorted(reasons) == ["cat/torn.png", "dog/bomb.png", "dog/notes.jpg"]
    assert reasons["dog/bomb.png"] == "12000 x 12000 pixels, and the limit is 100,000,000"
    for name in reasons:
        assert name in outcome.err


@pytest.mark.long
def test_names_in_any_script_are_kept(build: Command, photo_folder: Any, tledge: Command, tmp_path: Path) -> None:
    folder = photo_folder({"Löwenzahn": 20, "猫": 20, "two words": 20}, name="Фото")
    (folder / "猫" / "000.png").rename(folder / "猫" / "写真 №1.png")
    outcome = build(folder, "--json", "--max-epochs", "1")
    assert outcome.code == 0, outcome.err
    made = json.loads(outcome.out)
    assert made["manifest"]["labels"] == ["Löwenzahn", "two words", "猫"]
    assert "猫/写真 №1.png" in (Path(made["folder"]) / "splits.csv").read_text(encoding="utf-8")
    listed = json.loads(tledge("runs", "--json", "--artifacts", tmp_path / "artifacts").out)["runs"]
    assert [(entry["dataset"], entry["problem"]) for entry in listed] == [("Фото", None)]


@pytest.mark.long
def test_a_file_name_that_is_no_unicode_is_kept(build: Command, photo_folder: Any, tmp_path: Path) -> None:
    folder = photo_folder({"cat": 20, "dog": 20})
    odd = os.fsencode(folder / "cat") + b"/caf\xe9.png"
    Path(os.fsdecode(odd)).write_bytes((folder / "cat" / "000.png").read_bytes())
    outcome = build(folder, "--json", "--max-epochs", "1")
    assert outcome.code == 0, outcome.err


def test_features_out_of_range_are_refused_and_leave_no_run(
    tledge: Command, save_module: Any, photo_folder: Any, tmp_path: Path
) -> None:
    import tensorflow as tf

    huge = save_module(lambda pixels: tf.reduce_mean(pixels, (1, 2)) * 3e38)
    folder = photo_folder({"cat": 20, "dog": 20})
    outcome = tledge("build", "--dataset", folder, "--backbone", huge, "--artifacts", tmp_path / "artifacts")
    assert outcome.code == INPUT
    assert "the backbone gives features that are not finite or too large. Choose another --backbone" in outcome.err
    assert _runs(tmp_path) == []


def test_training_that_diverges_is_refused_and_leaves_no_run(
    tledge: Command, save_module: Any, photo_folder: Any, photo_bytes: Any, tmp_path: Path
) -> None:
    import tensorflow as tf

    # Ordinary features, but for white pictures, which only the validation folder holds.
    module = save_module(lambda pixels: tf.reduce_mean(pixels, (1, 2)) / (1.0 - tf.reduce_mean(pixels, (1, 2))))
    folder = photo_folder({f"{split}/{label}": 8 for split in ("train", "val", "test") for label in ("cat", "dog")})
    Image.new("RGB", (24, 24), "white").save(folder / "val" / "cat" / "white.png")
    outcome = tledge(
        "build", "--dataset", folder, "--backbone", module, "--head", "mlp:8", "--learning-rate", "10",
        "--artifacts", tmp_path / "artifacts",
    )  # fmt: skip
    assert outcome.code == INPUT, outcome.err
    assert "training diverged" in outcome.err
    assert "Lower --learning-rate 10" in outcome.err
    assert _runs(tmp_path) == []


@pytest.fixture
def run_of_photos(build: Command, photo_folder: Any, tmp_path: Path) -> Path:
    """A run of 60 photos in ``tmp_path/photos``."""
    outcome = build(photo_folder({"cat": 30, "dog": 30}), "--max-epochs", "1", "--run", "pets")
    assert outcome.code == 0, outcome.err
    return tmp_path / "artifacts" / "pets"


@pytest.mark.long
@pytest.mark.parametrize("change", ["removed", "changed"])
def test_a_photo_that_is_gone_since_the_build_is_named_by_export(
    tledge: Command, run_of_photos: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, photo_bytes: Any, change: str
) -> None:
    monkeypatch.setenv("TLEDGE_CACHE_DIR", str(tmp_path / "another cache"))
    with (run_of_photos / "splits.csv").open(newline="", encoding="utf-8") as file:
        trained_on = next(entry["id"] for entry in csv.DictReader(file) if entry["split"] == "train")
    photo = tmp_path / "photos" / trained_on
    if change == "removed":
        photo.unlink()
    else:
        photo.write_bytes(photo_bytes(1000))
    outcome = tledge("export", "--format", "tflite-int8", "--artifacts", run_of_photos.parent)
    assert outcome.code == INPUT
    assert re.search(
        r"changed since run pets was built: 1 of \d+ photos is missing, changed or unreadable", outcome.err
    )
    assert trained_on in outcome.err
    assert "build again" in outcome.err


@pytest.mark.long
def test_a_data_set_folder_that_is_gone_is_no_trouble_while_its_pixels_are_cached(
    tledge: Command, run_of_photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(tmp_path / "photos")
    command = ["export", "--format", "tflite-int8", "--artifacts", run_of_photos.parent]
    outcome = tledge(*command)
    assert outcome.code == 0, outcome.err
    monkeypatch.setenv("TLEDGE_CACHE_DIR", str(tmp_path / "another cache"))
    outcome = tledge(*command)
    assert outcome.code == INPUT
    assert f"data set folder {tmp_path / 'photos'}: no such folder" in outcome.err
