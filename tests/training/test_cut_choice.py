"""Where a time budget cuts a network, and that a training keeps to it when it is resumed."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tledge.backbones import open_backbone
from tledge.classifier.network import load_network
from tledge.datasets import open_source
from tledge.datasets.prepare import Dataset, prepare_dataset
from tledge.errors import ArtifactError, EnvironmentFault, InputError
from tledge.preprocessing import AS_BUILDS_DO
from tledge.progress import Silent
from tledge.training import by_network, cut_choice
from tledge.training.build import go_on
from tledge.training.method import Task, Trained
from tledge.training.needs import Plan, require_room
from tledge.training.recipe import Recipe
from tledge.training.resolve import resolve
from tledge.training.unfinished import STATE, Request, kept_state

pytestmark = pytest.mark.long  # minutes in all

BUDGET = {"time_budget_s": 600.0, "max_epochs": 6, "views": 1}


class _Killed(Exception):
    pass


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, photo_bytes: Callable[..., bytes]) -> Dataset:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(80):
        path = folder / ("cat" if number < 40 else "dog") / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(photo_bytes(number))
    return prepare_dataset(open_source(str(folder)), 28, 0, Silent())


def _train(data: Dataset, folder: Path, name: str, epoch_s: float, **changes: Any) -> Trained | None:
    """The training of ``name``, its state in ``folder``, on a machine that takes so long for any epoch."""
    from tledge.tensorflow_setup import tensorflow

    tensorflow(0)
    (folder / name).mkdir(parents=True)
    (folder / "state").mkdir(exist_ok=True)
    backbone = dataclasses.replace(open_backbone("lenet", seed=0), is_pretrained=True)
    task = Task(backbone, data, resolve("finetune", BUDGET), 0, folder / name, folder / "state", Silent())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cut_choice, "_epoch_s", lambda *_: epoch_s)
        return by_network.train(dataclasses.replace(task, **changes))


def _die(epoch: int, row: dict[str, float]) -> None:
    if epoch == 2:  # after it was trained, before it was saved
        raise _Killed


def test_all_layers_above_the_cut_that_a_budget_allows_are_trained(photos: Dataset, tmp_path: Path) -> None:
    # finetune itself names a block far above the lowest cut.
    trained = _train(photos, tmp_path, "run", epoch_s=0.1)
    assert trained is not None
    assert trained.recipe.max_epochs == 6
    before = open_backbone("lenet", seed=0).graph
    after = load_network(tmp_path / "run" / "network")
    first = [layer.name for layer in before.layers].index(trained.recipe.unfreeze_from)
    for number, layer in enumerate(before.layers):
        if layer.weights:
            is_same = np.array_equal(layer.get_weights()[0], after.get_layer(layer.name).get_weights()[0])
            assert is_same == (number < first), layer.name


def test_a_training_that_is_resumed_on_a_faster_machine_keeps_its_cut_and_its_epochs(
    photos: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(_Killed):
        _train(photos, tmp_path, "killed", epoch_s=120.0, on_epoch=_die)
    resumed = _train(photos, tmp_path, "resumed", epoch_s=0.1)
    assert resumed is not None
    faster = _train(photos, tmp_path / "other", "anew", epoch_s=0.1)
    assert faster is not None
    assert 3 <= len(resumed.history) == resumed.recipe.max_epochs < 6
    assert resumed.recipe.unfreeze_from != faster.recipe.unfreeze_from
    assert (resumed.recipe.time_budget_s, faster.recipe.max_epochs) == (600.0, 6)


def _settled(data: Dataset, folder: Path, **options: float) -> Recipe:
    """The recipe with the cut and the epochs that the budget allows where an epoch takes a tenth of a second."""
    backbone = open_backbone("lenet", seed=0)
    task = Task(backbone, data, resolve("finetune", {**BUDGET, **options}), 0, folder, None, Silent())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cut_choice, "_epoch_s", lambda *_: 0.1)
        return cut_choice.above_cut(task, backbone.graph, time.monotonic())[0]


@pytest.mark.parametrize("max_epochs", [1, 2])
def test_fewer_epochs_than_a_budget_wants_at_least_are_enough_where_no_more_were_asked_for(
    photos: Dataset, tmp_path: Path, max_epochs: int
) -> None:
    assert _settled(photos, tmp_path, max_epochs=max_epochs).max_epochs == max_epochs
    with pytest.raises(InputError, match=f"leaves no time for {max_epochs} epochs"):
        _settled(photos, tmp_path, max_epochs=max_epochs, time_budget_s=0.05)


def test_cuts_whose_activations_have_no_room_on_the_disk_are_left_out(
    photos: Dataset, tmp_path: Path, small_disk: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = [layer.name for layer in open_backbone("lenet", seed=0).graph.layers]
    first = [layers.index(str(_settled(photos, tmp_path).unfreeze_from))]
    disk = small_disk(300_000)
    monkeypatch.setenv("TLEDGE_CACHE_DIR", str(disk))
    first.append(layers.index(str(_settled(photos, tmp_path).unfreeze_from)))
    assert first[0] < first[1]
    (disk / "filled").write_bytes(bytes(300_000 // 4096 * 4096))
    with pytest.raises(EnvironmentFault, match="no space left on the disk"):
        _settled(photos, tmp_path)


def test_the_cut_that_a_resumed_training_keeps_needs_room_before_anything_is_read(
    photos: Dataset, tmp_path: Path, small_disk: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(_Killed):
        _train(photos, tmp_path, "killed", epoch_s=0.1, on_epoch=_die)
    backbone = dataclasses.replace(open_backbone("lenet", seed=0), is_pretrained=True)
    begun = Plan(backbone, resolve("finetune", BUDGET), len(photos.ids), 2, tmp_path / "state")
    monkeypatch.setenv("TLEDGE_CACHE_DIR", str(small_disk(300_000)))  # for a higher cut's activations
    require_room(by_network.needs(dataclasses.replace(begun, state=None)), photos.source, 28, AS_BUILDS_DO)
    with pytest.raises(EnvironmentFault, match="no space left on the disk"):
        require_room(by_network.needs(begun), photos.source, 28, AS_BUILDS_DO)


def test_a_resumed_build_needs_room_at_its_cut_before_a_photo_is_read(
    photos: Dataset, tmp_path: Path, small_disk: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Request(
        dataset=photos.source.spec, backbone="bundled", input_size=None, weights=None, seed=0, run="one",
        recipe=resolve("finetune", {**BUDGET, "views": 18}), tensorboard=None, mlflow=False,
    )  # fmt: skip
    with pytest.raises(_Killed), kept_state(tmp_path / "made", request, Silent(), goes_on=False) as state:
        (state / STATE).write_bytes(b"an epoch")
        cut_choice.Cut(training="this one", unfreeze_from="block_1", max_epochs=6).save(state / cut_choice.CUT)
        raise _Killed
    disk = small_disk(4_000_000)  # the smallest cut's activations would fit
    monkeypatch.setenv("TLEDGE_CACHE_DIR", str(disk))
    # 80 photos of 12,288 bytes, and 5,120 bytes of features each; 18 views of the half that is surely trained on, of
    # 8,192 activations in two bytes each.
    with pytest.raises(EnvironmentFault, match=rf"no space left on the disk: {disk} needs 13 MB"):
        go_on(artifacts=tmp_path / "made")
    assert [path for path in disk.rglob("*") if path.is_file()] == []
    assert (state / STATE).exists()


@pytest.mark.parametrize("kept", [STATE, cut_choice.CUT])
def test_what_another_training_kept_is_refused_before_the_head_is_trained(
    photos: Dataset, tmp_path: Path, empty_cache: Path, kept: str
) -> None:
    empty_cache.mkdir()
    with pytest.raises(_Killed):
        _train(photos, tmp_path, "killed", epoch_s=100.0, on_epoch=_die)
    for path in (tmp_path / "state").iterdir():
        if path.name != kept:
            path.unlink()
    for features in empty_cache.glob("features-v*"):
        shutil.rmtree(features)
    with pytest.raises(ArtifactError, match=f"{kept}: .*of other photos.* and build again"):
        _train(photos, tmp_path, "other", epoch_s=100.0, seed=1)
    assert list(empty_cache.glob("features-v*")) == []
