"""Training reads what was written, or says that it can't: damaged pixels and features are made again, and told."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tledge.backbones import open_backbone
from tledge.cache import cache_root
from tledge.datasets.folder import open_folder
from tledge.datasets.prepare import prepare_dataset
from tledge.errors import EnvironmentFault
from tledge.progress import Silent
from tledge.training import by_features, by_network
from tledge.training.method import Task
from tledge.training.resolve import resolve

pytestmark = pytest.mark.usefixtures("empty_cache")
TOLD = "rows are not as they were written. They were made again"
ONE_EPOCH = {"max_epochs": 1, "batch_size": 16}


def _damage(namespace: str) -> None:
    for path in cache_root().glob(f"{namespace}-v*/**/*.rows"):
        path.write_bytes(np.full(path.stat().st_size, 0xFF, np.uint8).tobytes())  # as float32: NaN


@pytest.mark.parametrize("damaged", ["features", "pixels"])
def test_a_head_is_the_same_whatever_a_disk_did_to_the_caches(
    photo_folder: Callable[..., Path], tiny_backbone: Path, tmp_path: Path, damaged: str
) -> None:
    folder, progress = photo_folder({"cat": 30, "dog": 30}), Silent()
    backbone, recipe = open_backbone(str(tiny_backbone)), resolve("head", {"augment": "light", "views": 1})

    def trained(name: str) -> Any:
        (tmp_path / name).mkdir()
        data = prepare_dataset(open_folder(folder), 16, 0, progress)
        return by_features.train(Task(backbone, data, recipe, 0, tmp_path / name, None, progress))

    before = trained("before")
    assert progress.warnings == []
    _damage(damaged)
    if damaged == "pixels":
        (features,) = cache_root().glob("features-v*")
        shutil.rmtree(features)
    after = trained("after")
    assert np.array_equal(after.test_logits, before.test_logits)
    assert np.array_equal(after.validation_logits, before.validation_logits)
    assert progress.warnings  # one a reading: a few photos are computed twice, to compare, before all are
    assert all(TOLD in warning for warning in progress.warnings)


def test_a_network_trains_on_damaged_photos_that_are_read_again_and_says_which_are_gone(
    photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder, progress = photo_folder({"cat": 30, "dog": 30}), Silent()
    data = prepare_dataset(open_folder(folder), 28, 0, progress)
    task = Task(open_backbone("lenet", seed=0), data, resolve("scratch", ONE_EPOCH), 0, tmp_path, None, progress)
    _damage("pixels")
    by_network.train(task)
    assert [TOLD in warning for warning in progress.warnings] == [True]
    _damage("pixels")
    shutil.rmtree(folder)
    with pytest.raises(EnvironmentFault, match="60 photos are damaged in the cache, and can't be read again"):
        by_network.train(replace(task, backbone=open_backbone("lenet", seed=0)))
