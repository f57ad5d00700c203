"""A network's training that has no room is refused before a photo of it is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tledge import room
from tledge.backbones import open_backbone
from tledge.datasets.folder import open_folder
from tledge.errors import EnvironmentFault, InputError
from tledge.preprocessing import AS_BUILDS_DO
from tledge.training import by_network
from tledge.training.needs import Plan, require_room
from tledge.training.resolve import resolve

VIEWS = 90


Ask = Callable[..., None]


@pytest.fixture
def ask(photo_folder: Callable[..., Path]) -> Ask:
    """Ask whether a network of two classes has room with a recipe and options, as if its backbone had been trained before."""

    source = open_folder(photo_folder({"cat": 30, "dog": 30}))

    def run(recipe: str, **options: Any) -> None:
        from tledge.tensorflow_setup import tensorflow

        tensorflow(0)
        backbone = replace(open_backbone("lenet", seed=0), is_pretrained=True)
        plan = Plan(backbone, resolve(recipe, options), source.num_photos, len(source.labels))
        require_room(by_network.needs(plan), source, backbone.input_size, AS_BUILDS_DO)

    return run


@pytest.mark.parametrize("how", [{"unfreeze_from": "c5"}, {"time_budget_s": 600.0}])
def test_activations_need_room_on_the_disk(
    ask: Ask, small_disk: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch, how: dict[str, Any]
) -> None:
    disk = small_disk(1_000_000)
    monkeypatch.setenv("TLEDGE_CACHE_DIR", str(disk))
    ask("finetune", views=1, **how)
    with pytest.raises(EnvironmentFault, match=rf"no space left on the disk: {disk} needs \d MB"):
        ask("finetune", views=VIEWS, **how)


def test_photos_that_are_read_ahead_need_room_in_memory(
    ask: Ask, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "available_memory", lambda: 250_000)  # the head's batches fit
    with pytest.raises(EnvironmentFault, match=r"reading \d\d photos ahead, in batches of 32, needs about 0 MB"):
        ask("best")


def test_a_layer_to_cut_at_that_is_not_there_is_told_before_any_photo_is_read(ask: Ask, empty_cache: Path) -> None:
    with pytest.raises(InputError, match="unknown layer or block to train from 'c9'"):
        ask("finetune", unfreeze_from="c9")
    assert not list(empty_cache.glob("pixels-v*"))
