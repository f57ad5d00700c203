"""A run is exported and verified where its photos lie elsewhere: they are known by their content."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tledge.run import open_run


@pytest.fixture
def travelled(
    tledge: Callable[..., Any], photo_folder: Callable[..., Path], empty_cache: Path, tmp_path: Path
) -> tuple[Path, Path]:
    """A run whose photos and whose cache were left behind, and a folder that holds all photos in one heap."""
    photos = photo_folder({"cat": 14, "dog": 14})
    built = tledge(
        "build", "--dataset", photos, "--backbone", "lenet", "--max-epochs", 1, "--artifacts", tmp_path / "a"
    )
    assert built.code == 0, built.err
    heap = tmp_path / "a card" / "heap [1]"
    heap.mkdir(parents=True)
    for number, photo in enumerate(sorted(photos.rglob("*.png"))):
        photo.rename(heap / f"IMG_{number:04d}.png")
    (heap / "notes.txt").write_text("where they were taken")
    shutil.rmtree(photos)
    shutil.rmtree(empty_cache)
    return tmp_path / "a", heap


def test_export_and_verify_find_the_photos_of_a_run_in_another_folder(
    tledge: Callable[..., Any], travelled: tuple[Path, Path]
) -> None:
    artifacts, heap = travelled
    place = ("--artifacts", artifacts)
    lost = tledge("export", "--format", "tflite-int8", *place)
    assert lost.code == 2
    assert "name the folder or data set that holds them now with --dataset" in lost.err
    exported = tledge("export", "--format", "tflite-int8", "--dataset", heap, *place)
    assert exported.code == 0, exported.err
    shutil.rmtree(heap.parents[1] / "cache")
    verified = tledge("verify", "--accuracy-only", "--max-drop", 100, "--dataset", heap, *place)
    assert verified.code == 0, verified.err
    (run,) = [path for path in artifacts.iterdir() if (path / "manifest.json").is_file()]
    assert (open_run(artifacts, run.name).reports() / "report.json").is_file()


def test_a_photo_that_the_other_folder_lacks_is_named(tledge: Callable[..., Any], travelled: tuple[Path, Path]) -> None:
    artifacts, heap = travelled
    for photo in sorted(heap.glob("*.png"))[:20]:
        photo.unlink()
    lacking = tledge("export", "--format", "tflite-int8", "--dataset", heap, "--artifacts", artifacts)
    assert lacking.code == 2
    assert "lacks photos of run" in lacking.err


def test_a_folder_without_a_file_holds_no_photo_of_a_run(
    tledge: Callable[..., Any], travelled: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "nothing").mkdir()
    place = ("--dataset", tmp_path / "nothing", "--artifacts", travelled[0])
    refused = tledge("export", "--format", "tflite-int8", *place)
    assert refused.code == 2
    assert "no file in it. Restore them, name the folder" in refused.err
    unset = tledge("export", "--format", "tflite-int8", "--dataset", "", "--artifacts", travelled[0])
    assert unset.code == 2, "an unset variable of a shell is not the working directory"
