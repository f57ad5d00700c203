"""What a training is known by."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from tledge.backbones import Backbone
from tledge.datasets import open_source
from tledge.datasets.prepare import Dataset, prepare_dataset
from tledge.progress import Silent
from tledge.training.checkpoint import identity
from tledge.training.method import Task
from tledge.training.recipe import RECIPES


def _in_another_order(data: Dataset) -> Dataset:
    """The same photos in the same splits, found in the opposite order."""
    last = len(data.ids) - 1
    rows = {name: last - found[::-1] for name, found in data.splits.rows.items()}
    return replace(
        data,
        ids=data.ids[::-1],
        labels=data.labels[::-1],
        content_sha256=data.content_sha256[::-1],
        pixels=data.pixels.select(np.arange(last, -1, -1)),
        splits=replace(data.splits, rows=rows),
    )


def test_a_training_is_known_by_all_that_its_numbers_follow_from(tmp_path: Path) -> None:
    data = prepare_dataset(open_source("digits"), 28, 0, Silent())
    backbone = Backbone("of any size", "0" * 64, 28, 84, None)
    task = Task(backbone, data, RECIPES["best"], 0, tmp_path, None, Silent())
    rows = data.splits.rows
    swapped = {**rows, "train": rows["validation"], "validation": rows["train"]}
    turned = _in_another_order(data)
    assert turned.split_records() == data.split_records()
    others = [
        replace(task, data=turned),
        replace(task, data=replace(data, splits=replace(data.splits, rows=swapped))),
        replace(task, backbone=replace(backbone, input_size=32)),
        replace(task, backbone=replace(backbone, sha256="1" * 64)),
        replace(task, recipe=RECIPES["scratch"]),
        replace(task, seed=1),
    ]
    assert len({identity(one) for one in [task, *others]}) == 7
    assert identity(replace(task, folder=tmp_path / "elsewhere", progress=Silent())) == identity(task)
