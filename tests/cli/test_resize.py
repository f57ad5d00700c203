"""A resize that ``build`` was told is that of every later command, and of the files that go to devices."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tledge.audit.contract import contract_problems
from tledge.audit.reading import read_with
from tledge.audit.tflite import interface_tflite
from tledge.datasets.run_photos import load_split, members
from tledge.inference.run_model import open_model
from tledge.preprocessing import Preparation, prepare_photo
from tledge.progress import Silent
from tledge.resizing import SQUEEZE, Resize, parse_resize
from tledge.run import UNFINISHED, Run, open_run
from tledge.runtimes import runtime
from tledge.training.build import go_on
from tledge.training.resolve import resolve
from tledge.training.unfinished import Request, kept_state, recall

Command = Callable[..., Any]
TEXT, CROP = "crop:80,bicubic", Resize("crop", 80, "bicubic")
SIZE = 64  # of the bundled backbone
ANSWERS = 1e-4  # of a float artifact against TensorFlow, in probability


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of wide photos. The centre tells the class, and the sides tell the other one."""
    root, rng = tmp_path_factory.mktemp("wide") / "photos", np.random.default_rng(0)
    for label, bright in (("dark", 60), ("light", 190)):
        (root / label).mkdir(parents=True)
        for number in range(24):
            values = rng.normal(250 - bright, 40, (80, 240, 3))
            values[:, 80:160] = rng.normal(bright, 40, (80, 80, 3))
            values += np.kron(rng.normal(0, 35, (4, 12, 1)), np.ones((20, 20, 1)))  # so that no two are alike
            Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).save(root / label / f"{number:02d}.png")
    return root


@pytest.fixture
def run(photos: Path, tmp_path: Path, tledge: Command, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("TLEDGE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    made = tledge(
        *("build", "--dataset", photos, "--backbone", "bundled"),
        *("--resize", TEXT, "--run", "wide", "--max-epochs", "20"),
    )
    assert made.code == 0, made.err
    return open_run(tmp_path / "artifacts", "wide")


def test_predict_evaluate_export_and_verify_prepare_photos_as_the_build_was_told(
    run: Run, photos: Path, tledge: Command
) -> None:
    assert run.manifest.resize == CROP
    assert "bicubic resize with antialiasing of the shorter side to 80 pixels" in run.manifest.preprocessing.description
    test, split = members(run, "test"), load_split(run, "test", Silent())
    for one, pixels in zip(test, split.pixels[:], strict=True):
        data = (photos / one.id).read_bytes()
        assert np.array_equal(pixels, prepare_photo(data, SIZE, Preparation(resize=CROP)).pixels)
        assert not np.array_equal(pixels, prepare_photo(data, SIZE).pixels)

    paths = [photos / one.id for one in test]
    reference = np.load(run.folder / "reference.npz")
    assert list(reference["ids"]) == [one.id for one in test]
    exponents = np.exp(reference["logits"] - reference["logits"].max(1, keepdims=True))
    original = exponents / exponents.sum(1, keepdims=True)
    made = tledge("export", "--format", "tflite-float32")
    assert made.code == 0, made.err
    path = run.export_folder("tflite-float32") / "model.tflite"
    session = runtime("litert").load(path.read_bytes(), 1, "XNNPACK")
    artifact = np.stack([session.predict(pixels[None]) for pixels in np.asarray(split.pixels[:])])
    assert abs(artifact - original).max() < ANSWERS
    for options in ((), ("--artifact", "tflite-float32")):
        answered = tledge("predict", *paths, "--json", *options)
        assert answered.code == 0, answered.err
        found = json.loads(answered.out)["photos"]
        by_path = {one["path"]: {each["label"]: each["probability"] for each in one["answers"]} for one in found}
        told = [[by_path[str(photo)][label] for label in run.manifest.labels] for photo in paths]
        assert abs(np.array(told) - original).max() < ANSWERS

    scored = json.loads(tledge("evaluate", "--dataset", photos, "--json").out)
    assert scored["metrics"]["num_photos"] == len(test)
    assert scored["metrics"]["accuracy"] == run.manifest.metrics["test"].accuracy
    assert tledge("embed", "--dataset", photos, "--out", "features.npy").code == 0
    assert json.loads(Path("features.json").read_text())["tledge"]["resize"] == TEXT

    metadata = read_with(path, {".tflite": interface_tflite}).metadata
    assert metadata and json.loads(metadata)["input"]["resize"] == TEXT
    assert contract_problems(path, run.manifest.labels, SIZE, None, CROP) == []
    assert contract_problems(path, run.manifest.labels, SIZE) == [
        "The file's metadata says photos are resized by 'crop:80,bicubic', the run says 'squeeze'."
    ]
    verified = tledge("verify", "--format", "tflite-float32", "--accuracy-only", "--json")
    assert verified.code == 0, verified.err


@pytest.mark.long
def test_a_copy_of_a_photo_is_known_by_all_of_it_and_not_by_its_crop(
    run: Run, photos: Path, tledge: Command, tmp_path: Path
) -> None:
    """The training photos are encoded again: evaluate leaves them out, as for a run that squeezes."""
    again = tmp_path / "again"
    for one in (*members(run, "train"), *members(run, "test")):
        (again / one.id).parent.mkdir(parents=True, exist_ok=True)
        Image.open(photos / one.id).save((again / one.id).with_suffix(".jpg"), quality=92)
    outcome = tledge("evaluate", "--dataset", again, "--json")
    assert outcome.code == 0, outcome.err
    scored = json.loads(outcome.out)
    copies = {one["of"]: one["split"] for one in scored["near_copies"]}
    assert {one.id for one in members(run, "train")} == {of for of, split in copies.items() if split == "train"}
    assert scored["metrics"]["num_photos"] == len(members(run, "test"))


@pytest.mark.parametrize(
    ("text", "said"),
    [("crob:40", "Did you mean 'crop:N'?"), ("crop:63", "no 64 x 64 pixels can be cropped from a side of 63")],
)
def test_a_resize_that_is_none_ends_the_build_before_a_photo_is_read(
    text: str, said: str, photos: Path, tledge: Command, tmp_path: Path
) -> None:
    where = ("--artifacts", tmp_path / "artifacts", "--backbone", "bundled")
    outcome = tledge("build", "--dataset", photos, "--resize", text, *where)
    assert outcome.code == 2
    assert said in outcome.err


def test_a_build_that_goes_on_keeps_its_resize(photos: Path, tmp_path: Path) -> None:
    root, recipe = tmp_path / "artifacts", resolve("scratch", {"max_epochs": 1})
    request = Request(
        dataset=str(photos), backbone="lenet", input_size=None, weights=None, recipe=recipe, seed=0, run="wide",
        tensorboard=None, mlflow=False, resize="pad,nearest",
    )  # fmt: skip
    with pytest.raises(KeyboardInterrupt), kept_state(root, request, Silent(), goes_on=False) as folder:
        (folder / "state.npz").write_bytes(b"")
        raise KeyboardInterrupt
    folder.joinpath("state.npz").unlink()  # no epoch had ended
    assert recall(root, None).resize == "pad,nearest"
    assert Request.model_validate({k: v for k, v in request.as_json().items() if k != "resize"}).resize == str(SQUEEZE)
    run = go_on(None, root)
    assert run is not None
    assert not (root / f"{UNFINISHED}wide").exists()
    assert open_model(run).preparation.resize == parse_resize("pad,nearest")
