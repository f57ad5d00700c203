"""The folder of an unfinished build: when it is removed, and when it stays."""

from __future__ import annotations

import fcntl
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tledge.errors import EnvironmentFault, InputError
from tledge.progress import Silent
from tledge.training.build import go_on
from tledge.training.checkpoint import STATE
from tledge.training.recipe import RECIPES
from tledge.training.unfinished import Request, kept

Tledge = Callable[..., Any]
LONG = "x" * 300
ERRORS = [InputError("no such folder"), EnvironmentFault("no network"), KeyboardInterrupt()]


def _request(run: str, *, mlflow: bool = False) -> Request:
    recipe = RECIPES["scratch"]
    return Request(
        dataset="digits", backbone="lenet", input_size=None, weights=None, recipe=recipe, seed=0, run=run,
        tensorboard=None, mlflow=mlflow,
    )  # fmt: skip


@pytest.mark.parametrize("run", ["x/../../photos", LONG])
def test_a_name_that_is_none_is_refused_and_the_folder_that_it_leads_to_stays(
    tledge: Tledge, tmp_path: Path, run: str
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "cat.jpg").write_bytes(b"a photo")
    root = tmp_path / "artifacts"
    (root / ".unfinished-x").mkdir(parents=True)
    outcome = tledge("build", "--dataset", "digits", "--recipe", "best", "--run", run, "--artifacts", root)
    assert outcome.code == 2
    assert "run name" in outcome.err
    for goes_on in (False, True):
        with pytest.raises(InputError, match="run name"), kept(root, _request(run), Silent(), goes_on=goes_on):
            pass
    assert (photos / "cat.jpg").read_bytes() == b"a photo"


@pytest.mark.parametrize("root", ["file", "file/below", LONG])
def test_a_place_that_can_not_be_written_is_told(tmp_path: Path, root: str) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(EnvironmentFault, match="Name another folder with --artifacts"),
        kept(tmp_path / root, _request("one"), Silent(), goes_on=False),
    ):
        pass


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_before_the_first_epoch_leaves_nothing_and_says_nothing(tmp_path: Path, error: BaseException) -> None:
    progress = Silent()
    with pytest.raises(type(error)), kept(tmp_path, _request("one"), progress, goes_on=False):
        raise error
    assert list(tmp_path.iterdir()) == []
    assert progress.warnings == []


@pytest.mark.parametrize("error", ERRORS)
def test_what_was_trained_is_kept_whatever_ends_a_build_and_its_resumption(
    tmp_path: Path, error: BaseException
) -> None:
    for goes_on in (False, True):
        progress = Silent()
        with pytest.raises(type(error)), kept(tmp_path, _request("one"), progress, goes_on=goes_on) as folder:
            if not goes_on:
                (folder / STATE).write_bytes(b"an epoch")
            raise error
        assert (folder / STATE).read_bytes() == b"an epoch"
        assert progress.warnings == ["what was trained so far is kept; go on with: tledge build --resume --run one"]
    with kept(tmp_path, _request("one"), Silent(), goes_on=True):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is not None, reason="mlflow is installed")
def test_a_build_that_was_to_be_recorded_by_mlflow_is_so_when_it_is_resumed(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        kept(tmp_path, _request("one", mlflow=True), Silent(), goes_on=False) as folder,
    ):
        (folder / STATE).write_bytes(b"an epoch")
        raise KeyboardInterrupt
    with pytest.raises(EnvironmentFault, match="--mlflow needs the package mlflow"):
        go_on(artifacts=tmp_path)


def test_a_folder_that_another_process_holds_stays(tmp_path: Path) -> None:
    folder = tmp_path / ".unfinished-one"
    folder.mkdir()
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with (
            pytest.raises(InputError, match="another process is building"),
            kept(tmp_path, _request("one"), Silent(), goes_on=True),
        ):
            pass
    assert folder.is_dir()
