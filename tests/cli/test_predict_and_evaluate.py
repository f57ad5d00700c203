"""``tledge predict`` and ``tledge evaluate`` as a user has them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tledge.records import ExportRecord
from tledge.run import Run

INPUT = 2
Command = Callable[..., Any]
Exported = tuple[Run, dict[str, ExportRecord]]


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """Four digits of each class as files, ``digits/LABEL/NUMBER.png``."""
    from tledge.datasets import open_source

    for number, photo in zip(range(40), open_source("digits").photos(), strict=False):
        path = tmp_path / "digits" / str(photo.label) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo.data).save(path)  # type: ignore[arg-type]
    return tmp_path / "digits"


def _options(exported: Exported) -> list[str]:
    return ["--artifacts", str(exported[0].folder.parent), "--artifact", "tflite-int8"]


def test_predict_prints_a_line_a_photo_and_is_mostly_right(tledge: Command, exported: Exported, digits: Path) -> None:
    outcome = tledge("predict", digits, "--top", "2", *_options(exported))
    assert outcome.code == 0, outcome.err
    lines = [line.split() for line in outcome.out.splitlines()]
    assert [path for path, *_ in lines] == sorted(map(str, digits.rglob("*.png")))
    assert all(len(cells) == 5 and cells[2].endswith("%") and cells[4].endswith("%") for cells in lines)
    right = sum(Path(path).parent.name == label for path, label, *_ in lines)
    assert right >= 0.9 * len(lines)


def test_predict_by_the_original_prints_the_same_object(tledge: Command, exported: Exported, digits: Path) -> None:
    photo = next(digits.rglob("*.png"))
    outcome = tledge("predict", photo, "--json", *_options(exported)[:2])
    assert (outcome.code, outcome.err) == (0, "")
    made = json.loads(outcome.out)
    assert (made["run"], made["artifact"], made["unreadable"], made["skipped"]) == ("digits", "original", [], [])
    ((answered,),) = [made["photos"]]
    assert answered["path"] == str(photo)
    assert answered["answers"][0]["label"] == photo.parent.name
    assert len(answered["answers"]) == 3
    assert 0 < sum(answer["probability"] for answer in answered["answers"]) <= 1


def test_predict_answers_the_readable_photos_and_ends_in_2_for_the_others(
    tledge: Command, exported: Exported, digits: Path
) -> None:
    (digits / "0" / "torn.png").write_bytes(b"torn")
    outcome = tledge("predict", digits, "--json", *_options(exported))
    assert outcome.code == INPUT
    made = json.loads(outcome.out)
    assert len(made["photos"]) == 40
    assert made["unreadable"] == [
        {"path": str(digits / "0" / "torn.png"), "reason": "no image of a format that Pillow reads"}
    ]
    assert "torn.png: not answered" in outcome.err
    assert "error: 1 of 41 photos can't be read. The others were answered." in outcome.err
    outcome = tledge("predict", digits / "0" / "torn.png", "--json", *_options(exported))
    assert outcome.code == INPUT
    assert json.loads(outcome.out)["photos"] == []
    assert "error: 1 of 1 photo can't be read\n" in outcome.err


def test_predict_reads_one_photo_from_standard_input(exported: Exported, digits: Path) -> None:
    photo = next((digits / "1").iterdir())
    ended = subprocess.run(
        [sys.executable, "-m", "tledge", "predict", "-", "--json", *_options(exported)],
        input=photo.read_bytes(), capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    (answered,) = json.loads(ended.stdout)["photos"]
    assert (answered["path"], answered["answers"][0]["label"]) == ("-", "1")


def test_predict_says_nothing_of_a_reader_that_is_gone(exported: Exported, digits: Path) -> None:
    photos = [str(next(digits.rglob("*.png")))] * 3000  # more than a pipe holds
    read_end, write_end = os.pipe()
    os.close(read_end)
    ended = subprocess.run(
        [sys.executable, "-m", "tledge", "predict", *photos, *_options(exported)],
        stdout=write_end, stderr=subprocess.PIPE, text=True, check=False, timeout=60,
    )  # fmt: skip
    os.close(write_end)
    assert ended.returncode not in (0, 70)
    assert "rror" not in ended.stderr


def test_file_names_can_not_write_to_the_terminal(tledge: Command, exported: Exported, digits: Path) -> None:
    odd = next((digits / "4").iterdir()).rename(digits / "4" / "\x1b[31m\nred.png")
    outcome = tledge("predict", odd, *_options(exported))
    assert outcome.code == 0, outcome.err
    assert len(outcome.out.splitlines()) == 1
    assert "\x1b" not in outcome.out


def test_evaluate_prints_recall_by_class_and_the_accuracy_with_its_interval(
    tledge: Command, exported: Exported, digits: Path
) -> None:
    again = "--include-seen"  # they are pictures of the run in another size
    outcome = tledge("evaluate", "--dataset", digits, again, *_options(exported))
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert lines[0].split() == ["class", "photos", "recall"]
    assert [line.split()[0] for line in lines[1:11]] == [str(digit) for digit in range(10)]
    assert lines[11].startswith("run digits, tflite-int8 on litert, on digits: accuracy ")
    assert "on 40 photos; macro precision" in lines[11]
    made = json.loads(tledge("evaluate", "--dataset", digits, again, "--json", *_options(exported)).out)
    assert f"accuracy {made['metrics']['accuracy']:.2%} (" in lines[11]
    assert sum(count for _, _, count in made["metrics"]["confusions"]) == 40


def test_evaluate_refuses_classes_that_the_run_does_not_know(
    tledge: Command, exported: Exported, photo_folder: Callable[..., Path]
) -> None:
    outcome = tledge("evaluate", "--dataset", photo_folder({"cat": 2}), *_options(exported))
    assert outcome.code == INPUT
    assert "run digits does not know 'cat'" in outcome.err
    assert outcome.out == ""


def test_a_class_of_another_name_is_mapped_as_the_error_proposes(
    tledge: Command, lenet_copy: Run, photo_folder: Callable[..., Path]
) -> None:
    command = ("evaluate", "--dataset", photo_folder({"7": 1, "one": 2}), "--artifacts", lenet_copy.folder.parent)
    refused = tledge(*command)
    assert refused.code == INPUT
    assert "does not know 'one'" in refused.err
    mapped = tledge(*command, "--map", "one=1", "--json")
    assert mapped.code == 0, mapped.err
    assert json.loads(mapped.out)["class_map"] == {"one": "1"}
