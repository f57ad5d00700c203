"""Where a time budget cuts a network, and that a training keeps to it when it is resumed."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tledge.backbones import open_backbone
from tledge.classifier.network import load_network
from tledge.datasets import open_source
from tledge.datasets.prepare import Dataset, prepare
from tledge.errors import ArtifactError
from tledge.progress import Silent
from tledge.training import by_network, cut_choice
from tledge.training.method import Task, Trained
from tledge.training.recipe import resolve
from tledge.training.unfinished import STATE

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
    return prepare(open_source(str(folder)), 28, 0, Silent())


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


def test_the_cut_of_another_training_is_refused(photos: Dataset, tmp_path: Path) -> None:
    with pytest.raises(_Killed):
        _train(photos, tmp_path, "killed", epoch_s=100.0, on_epoch=_die)
    (tmp_path / "state" / STATE).unlink()
    said = re.escape(str(tmp_path / "state" / cut_choice.CUT)) + ": of other photos.* build again"
    with pytest.raises(ArtifactError, match=said):
        _train(photos, tmp_path, "other", epoch_s=100.0, seed=1)
