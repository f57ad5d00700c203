"""What a cache gives otherwise than it was written is no fault of an artifact: it is made again, or told as what it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tledge.cache import cache_root
from tledge.datasets.run_photos import load_split
from tledge.progress import Silent
from tledge.run import MANIFEST, Run, open_run

Command = Callable[..., Any]
TOLD = "rows are not as they were written"
pytestmark = pytest.mark.usefixtures("empty_cache")


def _damage(namespace: str, every: int, content: bytes = b"\0") -> None:
    """Other bytes of the same size in every so many rows."""
    for path in cache_root().glob(f"{namespace}-v*/**/*.rows"):
        count = path.with_suffix(".keys").stat().st_size // 32
        data = np.frombuffer(path.read_bytes(), np.uint8).reshape(count, -1).copy()
        values = np.frombuffer(content, np.uint8)
        data[::every] = np.resize(values, data.shape[1])
        path.write_bytes(data.tobytes())


def _export(tledge: Command, run: Run) -> tuple[str, str]:
    ended = tledge("export", "--format", "tflite-int8", "--artifacts", run.folder.parent)
    assert ended.code == 0, ended.err
    return run.export_record("tflite-int8").sha256, " ".join(ended.err.split())


def _verify(tledge: Command, run: Run) -> tuple[Any, str]:
    ended = tledge("verify", "--accuracy-only", "--json", "--artifacts", run.folder.parent)
    (row,) = json.loads(ended.out)["rows"]
    assert ended.code in (0, 1), ended.err
    return row["drift"], " ".join(ended.err.split())


@pytest.mark.long
def test_damaged_pixels_change_neither_an_export_nor_a_verification_and_are_told(
    lenet_copy: Run, tledge: Command
) -> None:
    made, said = _export(tledge, lenet_copy)
    drift, also_said = _verify(tledge, lenet_copy)
    assert TOLD not in said + also_said
    _damage("pixels", 3)
    made_again, said = _export(tledge, lenet_copy)
    assert made_again == made
    assert TOLD in said
    _damage("pixels", 2, b"\x07\xff\x80")
    drift_again, said = _verify(tledge, lenet_copy)
    assert drift_again == drift
    assert TOLD in said


def test_a_damaged_photo_that_is_gone_ends_verify_with_3_and_blames_no_artifact(
    lenet_copy: Run, tledge: Command, tmp_path: Path
) -> None:
    ids = load_split(lenet_copy, "test", Silent()).ids  # the pixels are in the cache from here on
    dataset = lenet_copy.manifest.dataset.model_copy(update={"spec": str(tmp_path / "gone")})
    lenet_copy.manifest.model_copy(update={"dataset": dataset}).save(lenet_copy.folder / MANIFEST)
    run = open_run(lenet_copy.folder.parent, "lenet")
    assert tledge("export", "--format", "tflite-float32", "--artifacts", run.folder.parent).code == 0
    _damage("pixels", 1)
    ended = tledge("verify", "--accuracy-only", "--artifacts", run.folder.parent)
    said = " ".join(ended.err.split())
    assert ended.code == 3
    assert f"damaged in the cache, and can't be read again ({ids[0]}" in said
    assert f"data set folder {tmp_path / 'gone'}: no such folder. Restore the data set, or build again." in said
    assert not run.reports().exists()
