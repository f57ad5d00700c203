"""Every readable photo gets its most probable classes, and every other one its reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tledge.errors import InputError
from tledge.inference.predict import Prediction, UnreadablePhoto
from tledge.inference.run_model import RunModel, open_model
from tledge.preprocessing import prepare_photo
from tledge.progress import Silent
from tledge.records import ExportRecord
from tledge.run import Run
from tledge.runtimes import runtime
from tledge.training.build import build


@pytest.fixture
def model(exported: tuple[Run, dict[str, ExportRecord]]) -> RunModel:
    return open_model(exported[0], format_name="tflite-int8")


def test_the_answers_are_the_artifacts_most_probable_classes_the_first_of_equals_first(
    model: RunModel, photo_folder: Callable[..., Path]
) -> None:
    folder = photo_folder({"a": 2, "b": 1})
    session = runtime("litert").load(model.runnable.path.read_bytes(), 1, "XNNPACK")
    answered = list(Prediction(model, [folder], top=10).answers())
    assert [one.path for one in answered] == sorted(map(str, folder.rglob("*.png")))
    for one in answered:
        row = session.predict(prepare_photo(Path(one.path).read_bytes(), model.input_size).pixels[None])
        best = sorted(range(10), key=lambda number: (-row[number], number))
        assert [(a.label, a.probability) for a in one.answers] == [(model.labels[n], float(row[n])) for n in best]
        assert len(np.unique(row)) < 10  # equals were there to be ordered


@pytest.mark.long
def test_of_two_classes_nobody_has_to_ask_for_two(
    photo_folder: Callable[..., Path], tiny_backbone: Path, tmp_path: Path
) -> None:
    folder = photo_folder({"cat": 12, "dog": 12})
    run = build(str(folder), backbone=str(tiny_backbone), run="pets", artifacts=tmp_path / "artifacts")
    assert run is not None
    answered = list(Prediction(open_model(run), [folder / "cat"]).answers())
    assert len(answered) == 12
    assert all({answer.label for answer in one.answers} == {"cat", "dog"} for one in answered)
    with pytest.raises(InputError, match="--top 3: use a number from 1 to 2"):
        Prediction(open_model(run), [folder], top=3)


def test_unreadable_photos_are_told_with_reasons_and_lose_no_other(
    model: RunModel, photo_folder: Callable[..., Path]
) -> None:
    folder, progress = photo_folder({"a": 3}), Silent()
    (folder / "a" / "001.png").write_bytes(b"torn")
    (folder / "a" / "notes.txt").write_text("feed at noon")
    prediction = Prediction(model, [folder / "gone.png", folder], top=1, progress=progress)
    answered = list(prediction.answers())
    assert [Path(one.path).name for one in answered] == ["000.png", "002.png"]
    assert all(len(one.answers) == 1 for one in answered)
    assert prediction.unreadable == [
        UnreadablePhoto(str(folder / "gone.png"), "no such file"),
        UnreadablePhoto(str(folder / "a" / "001.png"), "no image of a format that Pillow reads"),
    ]
    assert prediction.skipped == [str(folder / "a" / "notes.txt")]
    for named in ("gone.png: not answered", "001.png: not answered", "notes.txt"):
        assert any(named in warning for warning in progress.warnings)


@pytest.mark.parametrize("top", [-1, 0, 11])
def test_a_number_of_answers_that_can_not_be_given_names_the_one_that_can(model: RunModel, top: int) -> None:
    with pytest.raises(InputError, match=f"--top {top}: use a number from 1 to 10"):
        Prediction(model, ["photo.png"], top=top)
