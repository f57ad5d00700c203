"""Commands over 16-bit photos of 12 bits, in the folder that the commands write into: from build to embed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tledge.audit import read_with
from tledge.audit.tflite import interface_tflite
from tledge.datasets.run_photos import load_split
from tledge.progress import Silent
from tledge.run import open_run

Command = Callable[..., Any]
RANGE = ("--pixel-range", "0..4095")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: two classes of grey photos of 12 bits, the dark and the light."""
    rng = np.random.default_rng(0)
    for label, (low, high) in {"dark": (0, 2500), "light": (1500, 4096)}.items():
        (tmp_path / label).mkdir()
        for number in range(30):
            values = rng.integers(low, high, (16, 16)).astype(np.uint16)
            Image.fromarray(values).save(tmp_path / label / f"{number:02d}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TLEDGE_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.long  # it runs every command
def test_a_range_once_said_is_used_by_every_command_and_what_they_write_is_no_data(
    here: Path, tiny_backbone: Path, tledge: Command
) -> None:
    first = ("build", "--dataset", ".", "--backbone", tiny_backbone, "--max-epochs", "40", "--tensorboard", "curves")
    refused = tledge(*first, "--run", "first")
    assert refused.code == 2
    assert "60 of 60 photos have 16 bits a channel" in refused.err
    assert "Say which values they have with --pixel-range 0..4095" in refused.err
    for name in ("first", "second"):
        made = tledge(*first, *RANGE, "--run", name)
        assert made.code == 0, made.err
    assert "left out what tledge itself wrote: artifacts, cache, curves" in made.err
    run = open_run(here / "artifacts", "second")
    assert (run.manifest.labels, run.manifest.pixel_range) == (["dark", "light"], (0, 4095))
    test = load_split(run, "test", Silent())
    values = np.asarray(Image.open(here / test.ids[0]))
    assert np.array_equal(test.pixels[0][:, :, 0], values >> 4)

    shutil.rmtree(here / "cache")  # so that the photos are read again, for calibration and for verification
    assert tledge("export", "--format", "tflite-int8").code == 0
    path = run.export_folder("tflite-int8") / "model.tflite"
    metadata = read_with(path, {".tflite": interface_tflite}).metadata
    assert metadata and json.loads(metadata)["input"]["pixel_range"] == [0, 4095]
    verified = tledge("verify", "--format", "tflite-int8", "--protocol", "quick", "--json")
    assert verified.code == 0, verified.err

    scored = json.loads(tledge("evaluate", "--dataset", ".", "--include-seen", "--json").out)
    assert (scored["metrics"]["num_photos"], scored["pixel_range"]) == (60, [0, 4095])
    answered = tledge("predict", ".", "--json")
    found = json.loads(answered.out)
    assert answered.code == 0
    assert "left out what tledge itself wrote: cache; artifacts/first" in answered.err
    right = [Path(one["path"]).parent.name == one["answers"][0]["label"] for one in found["photos"]]
    assert len(right) == 60
    assert np.mean(right) == pytest.approx(scored["metrics"]["accuracy"])
    assert tledge("embed", "--dataset", ".", "--out", "dark/features.npy").code == 0
    again = tledge("embed", "--dataset", ".", "--out", "features.npy")
    assert "60 photos" in again.out
    assert json.loads(Path("features.json").read_text())["tledge"]["pixel_range"] == [0, 4095]
    outside = tledge("predict", "dark", "--pixel-range", "0..1023")
    assert outside.code == 2
    assert "outside of --pixel-range 0..1023" in outside.err
