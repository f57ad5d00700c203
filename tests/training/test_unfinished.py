"""The folder of an unfinished build: when it is removed, and when it stays."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tledge.errors import ArtifactError, EnvironmentFault, InputError
from tledge.progress import Silent
from tledge.run import Run, open_run
from tledge.training.build import build, go_on
from tledge.training.checkpoint import STATE
from tledge.training.recipe import RECIPES
from tledge.training.resolve import resolve
from tledge.training.unfinished import Request, kept_state, recall

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
        with pytest.raises(InputError, match="run name"), kept_state(root, _request(run), Silent(), goes_on=goes_on):
            pass
    assert (photos / "cat.jpg").read_bytes() == b"a photo"


@pytest.mark.parametrize("root", ["file", "file/below", LONG])
def test_a_place_that_can_not_be_written_is_told(tmp_path: Path, root: str) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(EnvironmentFault, match="Name another folder with --artifacts"),
        kept_state(tmp_path / root, _request("one"), Silent(), goes_on=False),
    ):
        pass


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_before_the_first_epoch_leaves_nothing_and_says_nothing(tmp_path: Path, error: BaseException) -> None:
    progress = Silent()
    with pytest.raises(type(error)), kept_state(tmp_path, _request("one"), progress, goes_on=False):
        raise error
    assert list(tmp_path.iterdir()) == []
    assert progress.warnings == []


@pytest.mark.parametrize("error", ERRORS)
def test_what_was_trained_is_kept_whatever_ends_a_build_and_its_resumption(
    tmp_path: Path, error: BaseException
) -> None:
    for goes_on in (False, True):
        progress = Silent()
        with pytest.raises(type(error)), kept_state(tmp_path, _request("one"), progress, goes_on=goes_on) as folder:
            if not goes_on:
                (folder / STATE).write_bytes(b"an epoch")
            raise error
        assert (folder / STATE).read_bytes() == b"an epoch"
        assert progress.warnings == ["what was trained so far is kept; go on with: tledge build --resume --run one"]
    with kept_state(tmp_path, _request("one"), Silent(), goes_on=True):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_of_what_is_kept_does_not_point_back_to_it(tmp_path: Path) -> None:
    progress = Silent()
    with (
        pytest.raises(ArtifactError),
        kept_state(tmp_path, _request("one"), progress, goes_on=False) as folder,
    ):
        (folder / STATE).write_bytes(b"an epoch")
        raise ArtifactError("of other photos. Remove its folder and build again.")
    assert (folder / STATE).exists()
    assert progress.warnings == []


def test_what_an_older_version_kept_is_refused_by_its_number(tmp_path: Path) -> None:
    folder = tmp_path / ".unfinished-one"
    folder.mkdir()
    _request("one").model_copy(update={"schema_version": 1}).save(folder / "build.json")
    with pytest.raises(ArtifactError, match=f"schema version 1, this tledge reads 2. Remove {folder} and build again"):
        recall(tmp_path, "one")


@pytest.fixture
def killed(tmp_path: Path, photo_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The artifacts folder of a build, begun with relative paths in the folder beside it, that ended after an epoch."""
    photo_folder({"cat": 30, "dog": 30})
    monkeypatch.chdir(tmp_path)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("tledge.training.by_network.save_network", interrupt)
        build(
            "photos", backbone="lenet", recipe=resolve("scratch", {"max_epochs": 1}), run="one", artifacts=Path("made")
        )
    return tmp_path / "made"


@pytest.mark.long
def test_a_build_is_resumed_from_another_folder(killed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    run = go_on(artifacts=killed)
    assert run is not None
    assert run.manifest.dataset.spec == str(killed.parent / "photos")
    assert run.manifest.backbone.handle == "lenet"


def test_what_is_left_beside_its_whole_run_is_removed(killed: Path, tmp_path: Path) -> None:
    left = killed / ".unfinished-one"
    shutil.copytree(left, tmp_path / "left")
    built = go_on(artifacts=killed)
    assert built is not None
    assert not left.exists()
    shutil.copytree(tmp_path / "left", left)
    assert go_on(artifacts=killed) == built
    assert not left.exists()
    shutil.copytree(tmp_path / "left", left)
    with pytest.raises(InputError, match="run 'one' exists already"):
        build("photos", backbone="lenet", run="one", artifacts=killed)
    assert not left.exists()


def test_what_stands_beside_a_damaged_run_or_one_of_the_head_alone_stays(built: Run, tmp_path: Path) -> None:
    folder, progress = tmp_path / ".unfinished-one", Silent()
    folder.mkdir()
    _request("one").save(folder / "build.json")
    shutil.copytree(built.folder, tmp_path / "one")
    assert open_run(tmp_path, "one").manifest.recipe["method"] == "features"
    for _ in range(2):
        with (
            pytest.raises(InputError, match="begun and not finished"),
            kept_state(tmp_path, _request("one"), progress, goes_on=False),
        ):
            pass
        assert (folder / "build.json").exists()
        (tmp_path / "one" / "splits.csv").unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("backbone", "weights", "kept_as"),
    [
        ("module", None, ("/here/module", None)),
        ("https://tfhub.dev/some/module", None, ("https://tfhub.dev/some/module", None)),
        ("keras:VGG16", "imagenet", ("keras:VGG16", "imagenet")),
        ("keras:VGG16", "of/mine.h5", ("keras:VGG16", "/here/of/mine.h5")),
        ("lenet", "none", ("lenet", "none")),
    ],
)
def test_paths_are_kept_absolute_and_names_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backbone: str, weights: str | None, kept_as: tuple[str, str | None]
) -> None:
    monkeypatch.chdir(tmp_path)
    requests: list[Request] = []

    def keep(root: Path, request: Request, *_: object, **__: object) -> None:
        requests.append(request)
        raise KeyboardInterrupt

    monkeypatch.setattr("tledge.training.build.kept_state", keep)
    with pytest.raises(KeyboardInterrupt):
        build("digits", backbone=backbone, weights=weights, recipe=RECIPES["best"], run="one", artifacts=tmp_path)
    assert requests[0].dataset == "digits"
    found = requests[0].backbone, requests[0].weights
    assert found == tuple(one and one.replace("/here", str(tmp_path)) for one in kept_as)


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is not None, reason="mlflow is installed")
def test_a_build_that_was_to_be_recorded_by_mlflow_is_so_when_it_is_resumed(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        kept_state(tmp_path, _request("one", mlflow=True), Silent(), goes_on=False) as folder,
    ):
        (folder / STATE).write_bytes(b"an epoch")
        raise KeyboardInterrupt
    with pytest.raises(EnvironmentFault, match="--mlflow needs the extra mlflow"):
        go_on(artifacts=tmp_path)
