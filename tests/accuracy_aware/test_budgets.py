"""export --max-drop: how it looks, what it does where no file suffices, and what it refuses."""

from __future__ import annotations

import io
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_models import without_split

from tledge.accuracy_aware import search
from tledge.accuracy_aware.search import export_within, fewest, missed, too_few
from tledge.audit import broken_promises
from tledge.errors import InputError, PromiseBroken
from tledge.exporters.options import Options
from tledge.progress import Silent
from tledge.run import Run, open_run

from .conftest import BUDGET, SAMPLES, tried

pytestmark = pytest.mark.long  # each search exports and scores several files

Tledge = Callable[..., Any]
Copied = Callable[..., Run]


@pytest.mark.parametrize("count", range(1, 40))
def test_the_fewest_that_suffice_are_found_in_a_few_tries(count: int) -> None:
    for least in range(1, count + 2):
        tried: list[int] = []
        found = fewest(count, lambda number: tried.append(number) or number >= least)  # noqa: B023 - called at once
        assert found == (least if least <= count else None)
        assert tried[0] == 1
        assert len(tried) == len(set(tried)) <= 2 * math.ceil(math.log2(count + 1)) + 1


def test_of_nothing_nothing_suffices() -> None:
    assert fewest(0, lambda number: True) is None


def test_an_integer_network_is_no_mixed_one_and_one_that_integers_do_not_hurt_stays_so(
    copied: Copied, tledge: Tledge
) -> None:
    run = copied()
    asked = ["--format", "tflite-int8", "--max-drop", BUDGET, "--calibration-samples", SAMPLES, "--json"]
    ended = tledge("export", *map(str, asked), "--artifacts", run.folder.parent)
    assert ended.code == 0
    assert run.export_names() == ["tflite-int8"]
    record = run.export_record("tflite-int8")
    assert json.loads(ended.out)["exports"] == [record.as_json()]
    assert tried(record) == ["tflite-int8"]
    assert record.promise == "all-integer"
    nothing = {**record.options, "float_operators": {}}
    assert broken_promises(record.audit, "mixed integer and float", record.file, nothing)


def test_of_a_network_that_no_file_holds_the_best_is_kept_as_missing_the_budget_with_exit_code_1(
    hopeless: Run, tledge: Tledge
) -> None:
    asked = ["--format", "tflite-int8", "--max-drop", BUDGET, "--epochs", 1, "--calibration-samples", SAMPLES]
    ended = tledge("export", *map(str, asked), "--artifacts", hopeless.folder.parent)
    assert ended.code == 1
    (name,) = hopeless.export_names()
    record = hopeless.export_record(name)
    assert record.search
    first, *mixed, last = tried(record)
    assert (first, set(mixed), last) == ("tflite-int8", {"tflite-int8-mixed"}, "tflite-int8-qat")
    assert not too_few(record.search.num_photos, BUDGET)  # equal answers would be inside
    bounds = [step.accuracy_drop_points_interval for step in record.search.steps]
    highs = [bound.high for bound in bounds if bound]
    assert len(highs) == len(record.search.steps)
    assert record.search.missed_by_points == pytest.approx(min(highs) - BUDGET)
    assert record.search.missed_by_points > 0
    assert name == record.search.steps[highs.index(min(highs))].format
    assert f"misses the budget of {BUDGET} points by" in ended.err


def test_what_no_mixture_keeps_its_promise_of_is_trained(
    planted: Run, tmp_path: Path, tledge: Tledge, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise PromiseBroken("tflite-int8-mixed is none")

    monkeypatch.setattr(search._Search, "_mixed", broken)
    shutil.copytree(planted.folder, tmp_path / "lenet", ignore=shutil.ignore_patterns("exports"))
    asked = ["--format", "tflite-int8", "--max-drop", BUDGET, "--epochs", 1, "--calibration-samples", SAMPLES]
    ended = tledge("export", *map(str, asked), "--run", "lenet", "--artifacts", tmp_path)
    run = open_run(tmp_path, "lenet")
    (name,) = run.export_names()
    assert tried(run.export_record(name)) == ["tflite-int8", "tflite-int8-qat"]
    assert "warning: left out: tflite-int8-mixed is none" in ended.err


def test_a_network_of_unknown_layers_has_no_other_file_to_try(
    lenet: Run, copied: Copied, monkeypatch: pytest.MonkeyPatch
) -> None:
    with np.load(lenet.folder / "network" / "weights.npz") as stored:
        weights = {name: -value for name, value in stored.items()}  # no longer what the SavedModel holds
    out = io.BytesIO()
    np.savez(out, **weights)
    heard = Silent()
    run = copied({"network/weights.npz": out.getvalue()})
    monkeypatch.setattr(
        search, "too_few", lambda num_photos, max_drop_points: ""
    )  # that would end it at the first file
    (record,) = export_within(0.0, run, ["tflite-int8"], options=Options(SAMPLES), progress=heard)
    assert tried(record) == ["tflite-int8"]
    assert any(warning.startswith("no layer can be left in float, and none trained") for warning in heard.warnings)
    assert missed(record).startswith("tflite-int8 is the best that was found, and misses the budget of 0 points")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--format", "tflite-int8", "--max-drop", "-1"], "--max-drop -1: use points from 0 to 100"),
        (["--format", "tflite-int8", "--max-drop", "nan"], "--max-drop nan: use points"),
        (["--format", "tflite-int8", "--max-drop", "101"], "--max-drop 101: use points"),
        (
            ["--format", "tflite-float32", "--max-drop", "1"],
            "is for onnx-int8 and tflite-int8, and not for tflite-float32",
        ),
        (["--format", "onnx-int8", "--format", "tflite-dynamic", "--max-drop", "1"], "not for tflite-dynamic"),
        (["--format", "all", "--max-drop", "1"], "not for tflite-float32"),
        (["--format", "tflite-int9", "--max-drop", "1"], "Did you mean 'tflite-int8'?"),
        (["--format", "onnx-int8-mixed"], "A mixed file is what a search makes: --format onnx-int8 --max-drop POINTS"),
    ],
)
def test_a_budget_that_cannot_be_is_exit_code_2_with_the_way_out(
    lenet: Run, tledge: Tledge, asked: list[str], said: str
) -> None:
    ended = tledge("export", *asked, "--artifacts", lenet.folder.parent)
    assert ended.code == 2
    assert said in ended.err
    assert lenet.export_names() == []


def test_without_validation_photos_there_is_no_judge(copied: Copied) -> None:
    with pytest.raises(InputError, match="the validation split is empty, and --max-drop is judged by it"):
        export_within(BUDGET, without_split(copied(), "validation"), ["tflite-int8"])
