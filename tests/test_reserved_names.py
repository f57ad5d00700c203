"""No work is lost to a name: what another process is making is refused before anything is trained, converted or measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tledge.errors import InputError
from tledge.exporters.export import reserved_formats
from tledge.inference.features_file import reserved_out
from tledge.locks import reserved
from tledge.progress import Silent
from tledge.run import Run, reserved_reports
from tledge.run_writer import reserved_new_run, reserved_run
from tledge.training.build import build
from tledge.training.recipe import RECIPES, Recipe
from tledge.training.tune import STUDIES, tune
from tledge.training.unfinished import Request, kept_state

Tledge = Callable[..., Any]
SHORT = RECIPES["head"].model_copy(update={"max_epochs": 1})


def _request(recipe: Recipe) -> Request:
    return Request(
        dataset="digits", backbone="lenet", input_size=None, weights=None, recipe=recipe, seed=0, run="one",
        tensorboard=None, mlflow=False,
    )  # fmt: skip


@pytest.mark.parametrize("options", [("--backbone", "bundled"), ("--backbone", "lenet", "--recipe", "scratch")])
def test_a_run_that_another_process_builds_is_refused_and_nobody_is_told_to_remove_it(
    tledge: Tledge, tmp_path: Path, options: tuple[str, ...]
) -> None:
    with reserved_run(tmp_path, "one"), kept_state(tmp_path, _request(RECIPES["scratch"]), Silent(), goes_on=False):
        before = sorted(tmp_path.rglob("*"))
        ended = tledge("build", "--dataset", "digits", *options, "--run", "one", "--artifacts", tmp_path)
        assert ended.code == 2
        assert f"another process is building run 'one' in {tmp_path}. Choose another --run" in ended.err
        assert "remove" not in ended.err
        assert "loading the backbone" not in ended.err
        ended = tledge("build", "--resume", "--run", "one", "--artifacts", tmp_path)
        assert ended.code == 2
        assert "another process is building run 'one'" in ended.err
        assert sorted(tmp_path.rglob("*")) == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_of_two_unnamed_builds_in_one_second_the_second_has_a_name_of_its_own(
    tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tledge.training.build.default_name", lambda *_: "digits-0")
    with reserved_new_run(tmp_path, "digits-0") as first:
        second = build("digits", backbone=str(tiny_backbone), recipe=SHORT, artifacts=tmp_path)
    assert second is not None
    assert (first, second.name, second.manifest.name) == ("digits-0", "digits-0-2", "digits-0-2")
    (tmp_path / ".unfinished-digits-0").mkdir()
    with reserved_new_run(tmp_path, "digits-0") as third:  # the second's stands, another's is unfinished
        assert third == "digits-0-3"


def test_a_build_that_was_killed_before_it_said_what_it_is_leaves_its_name_free(tmp_path: Path) -> None:
    folder = tmp_path / ".unfinished-one"
    folder.mkdir()
    (folder / ".build.json.x.partial").touch()
    with kept_state(tmp_path, _request(RECIPES["scratch"]), Silent(), goes_on=False):
        assert (folder / "build.json").exists()
    assert not folder.exists()


def test_a_format_that_another_process_exports_is_refused_before_any_is_converted(
    tledge: Tledge, lenet_copy: Run
) -> None:
    asked = ["--run", lenet_copy.name, "--artifacts", lenet_copy.folder.parent]
    with reserved_formats(lenet_copy, ["onnx-float32"]):
        ended = tledge("export", "--format", "tflite-float32", "--format", "onnx-float32", *asked)
        assert ended.code == 2
        assert "another process is exporting onnx-float32 of run lenet. Wait for its end" in ended.err
        assert lenet_copy.export_names() == []
        assert tledge("export", "--format", "tflite-float32", *asked).code == 0
    with reserved_formats(lenet_copy, ["tflite-int8-mixed"]):  # which a search for a budget may end in
        ended = tledge("export", "--format", "tflite-int8", "--max-drop", "100", *asked)
        assert ended.code == 2
        assert "another process is exporting tflite-int8-mixed" in ended.err
    assert lenet_copy.export_names() == ["tflite-float32"]
    assert list(lenet_copy.folder.parent.rglob(".*")) == []


@pytest.mark.parametrize("command", ["verify", "report"])
def test_a_run_that_another_process_verifies_is_neither_verified_nor_reported_on(
    tledge: Tledge, lenet_copy: Run, command: str
) -> None:
    with reserved_reports(lenet_copy):
        ended = tledge(command, "--run", lenet_copy.name, "--artifacts", lenet_copy.folder.parent)
    assert ended.code == 2
    assert "another process is verifying run lenet. Wait for its end" in ended.err
    assert not lenet_copy.reports().exists()


@pytest.mark.parametrize("name", ["features.npy", f"{'x' * 240}.parquet"])
def test_a_file_that_another_process_embeds_into_is_refused_before_a_run_is_opened(
    tledge: Tledge, tmp_path: Path, name: str
) -> None:
    out = tmp_path / name
    with reserved_out(out):
        ended = tledge("embed", "--run", "none", "--dataset", "digits", "--out", out, "--artifacts", tmp_path)
    assert ended.code == 2
    assert "Choose another name, or wait for its end" in ended.err
    assert list(tmp_path.iterdir()) == []


def test_a_study_that_another_process_is_at_is_refused_before_its_data_is_read(tmp_path: Path) -> None:
    (tmp_path / STUDIES).mkdir()
    with (
        reserved(tmp_path / STUDIES, "s", ""),
        pytest.raises(InputError, match=r"another process is at study s in .*. Choose another --study"),
    ):
        tune("no such data set", study="s", artifacts=tmp_path)
