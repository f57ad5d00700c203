"""A network's training that has no room is refused before the head under it is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tledge import room
from tledge.backbones import open_backbone
from tledge.datasets.folder import open_folder
from tledge.datasets.prepare import prepare
from tledge.errors import EnvironmentFault
from tledge.progress import Silent
from tledge.training import by_network
from tledge.training.method import Task
from tledge.training.resolve import resolve

VIEWS = 90


@pytest.fixture
def train(photo_folder: Callable[..., Path], tmp_path: Path) -> Callable[..., None]:
    """Train a network of two classes with a recipe and options, as if its backbone had been trained before."""

    def run(recipe: str, **options: Any) -> None:
        from tledge.tensorflow_setup import tensorflow

        tensorflow(0)
        backbone = replace(open_backbone("lenet", seed=0), is_pretrained=True)
        data = prepare(open_folder(photo_folder({"cat": 30, "dog": 30})), 28, 0, Silent())
        by_network.train(Task(backbone, data, resolve(recipe, options), 0, tmp_path, None, Silent()))

    return run


@pytest.mark.parametrize("how", [{"unfreeze_from": "c5"}, {"time_budget_s": 600.0}])
def test_activations_need_room_on_the_disk(
    train: Callable[..., None],
    small_disk: Callable[[int], Path],
    monkeypatch: pytest.MonkeyPatch,
    how: dict[str, Any],
) -> None:
    disk = small_disk(1_500_000)
    monkeypatch.setenv("TLEDGE_CACHE_DIR", str(disk))
    with pytest.raises(EnvironmentFault, match=rf"no space left on the disk: {disk} needs \d MB"):
        train("finetune", views=VIEWS, **how)
    assert list(disk.glob("features-v*")) == []


def test_photos_that_are_read_ahead_need_room_in_memory(
    train: Callable[..., None], empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "available_memory", lambda: 300_000)  # the head's batches fit
    with pytest.raises(EnvironmentFault, match=r"reading \d\d photos ahead, in batches of 32, needs about 0 MB"):
        train("best")
    assert list(empty_cache.glob("features-v*")) == []
