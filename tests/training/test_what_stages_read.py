"""Which photos training and calibration read, by the hash of their pixels. Those of the test split have no part in either.

What a search reads is told in test_tune.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tledge.backbones import open_backbone
from tledge.cache import CachedRows
from tledge.datasets.folder import open_folder
from tledge.datasets.prepare import Dataset, prepare_dataset
from tledge.datasets.run_photos import load_split
from tledge.exporters import formats
from tledge.exporters.options import Options
from tledge.progress import Silent
from tledge.stages import export
from tledge.training import by_features, by_network
from tledge.training.build import build
from tledge.training.method import Task
from tledge.training.recipe import Recipe
from tledge.training.resolve import resolve

pytestmark = pytest.mark.long  # it trains twice by every recipe

Hashes = set[bytes]
ONE_EPOCH = {"max_epochs": 1, "batch_size": 16}


class Watched(CachedRows):
    """Pixels that note what is read of them: for each selection that was made of them, hashes of the photos read."""

    def __init__(self, rows: CachedRows, notes: list[tuple[set[tuple[int, int]], Hashes]]) -> None:
        super().__init__(rows._cache, rows._places)
        self._notes = notes
        self._read: Hashes = set()
        notes.append((places(rows), self._read))

    def select(self, index: Any) -> CachedRows:
        return Watched(super().select(index), self._notes)

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        self._read |= hashes(found.reshape(-1, *self.row_shape))
        return found


def places(rows: CachedRows) -> set[tuple[int, int]]:
    """Where the photos of a selection lie in the cache."""
    return {(int(segment), int(row)) for segment, row in rows._places}


def hashes(photos: Any) -> Hashes:
    return {hashlib.sha256(photo.tobytes()).digest() for photo in photos}


def _trained(data: Dataset, module: str, recipe: Recipe, folder: Path) -> tuple[dict[str, Any], Any]:
    """The variables of the model that training wrote, and its logits on the test split."""
    from tledge.tensorflow_setup import tensorflow

    tf = tensorflow(0)
    method: Any = by_features if recipe.method == "features" else by_network
    backbone = open_backbone(module, seed=0)
    # As if it were pretrained, so that its head is first trained on features, as of any backbone that is.
    backbone = replace(backbone, is_pretrained=True)
    (folder / "model").parent.mkdir()
    trained = method.train(Task(backbone, data, recipe, 0, folder, None, Silent()))
    stored = tf.train.load_checkpoint(str(folder / "model" / "variables" / "variables"))
    names = [name for name in stored.get_variable_to_shape_map() if name.endswith("VARIABLE_VALUE")]
    return {name: stored.get_tensor(name) for name in names}, trained.test_logits


@pytest.mark.usefixtures("empty_cache")
@pytest.mark.parametrize(
    ("name", "options", "backbone", "size"),
    [
        ("head", {"batch_size": None, "max_epochs": 13}, "tiny", 16),
        ("head", {"head": "mlp:8", "augment": "light", "views": 2}, "tiny", 16),
        ("finetune", {"unfreeze_from": "c5", "views": 2}, "lenet", 28),
        ("best", {}, "lenet", 28),
        # A Hub module, which is taken apart and proved on photos; and statistics that are estimated again on photos.
        ("finetune", {"unfreeze_from": "block_16", "views": 1, "batch_norm": "trained"}, "bundled", 64),
    ],
)
def test_the_test_split_is_read_to_be_answered_and_has_no_part_in_the_weights(
    photo_folder: Callable[..., Path],
    tiny_backbone: Path,
    tmp_path: Path,
    name: str,
    options: dict[str, Any],
    backbone: str,
    size: int,
) -> None:
    recipe = resolve(name, {**ONE_EPOCH, **options})
    module = str(tiny_backbone) if backbone == "tiny" else backbone
    data = prepare_dataset(open_folder(photo_folder({"cat": 40, "dog": 40})), size, 0, Silent())
    test = data.splits.rows["test"]
    notes: list[tuple[set[tuple[int, int]], Hashes]] = []
    watched = replace(data, pixels=Watched(data.pixels, notes))
    weights, answers = _trained(watched, module, recipe, tmp_path / "as it is")

    by_split = {split: hashes(data.pixels[rows]) for split, rows in data.splits.rows.items()}
    test_places = places(data.pixels.select(test))
    answering = [read for selected, read in notes if selected == test_places]
    training = [read for selected, read in notes if selected != test_places]
    assert set().union(*answering) == by_split["test"]
    assert set().union(*training) == by_split["train"] | by_split["validation"]
    assert not set().union(*training) & by_split["test"]

    # That the answers lead nowhere: trained again where every test photo shows the first training photo.
    other = data.pixels._places.copy()
    other[test] = other[data.splits.rows["train"][0]]
    changed = replace(data, pixels=CachedRows(data.pixels._cache, other))
    same_weights, other_answers = _trained(changed, module, recipe, tmp_path / "changed")
    assert weights.keys() == same_weights.keys()
    assert all(np.array_equal(value, same_weights[key]) for key, value in weights.items())
    assert not np.array_equal(answers, other_answers)


@pytest.mark.parametrize("is_trained", [False, True], ids=["calibration", "training"])
def test_formats_for_integers_read_no_test_photo(
    photo_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_trained: bool
) -> None:
    photos = str(photo_folder({"cat": 40, "dog": 40}))
    # Each of a small network is as good as of a large one; but what reads photos to calibrate depends on its layers.
    backbone, recipe = ("lenet", resolve("scratch", ONE_EPOCH)) if is_trained else ("bundled", Recipe(max_epochs=1))
    run = build(photos, backbone=backbone, recipe=recipe, artifacts=tmp_path / "artifacts")
    splits = {split: hashes(load_split(run, split, Silent()).pixels[:]) for split in ("train", "validation", "test")}
    read: Hashes = set()
    get = CachedRows.__getitem__

    def watch(rows: CachedRows, index: Any) -> Any:
        found = get(rows, index)
        read.update(hashes(found.reshape(-1, *rows.row_shape)))
        return found

    monkeypatch.setattr(CachedRows, "__getitem__", watch)
    known = [form for form in formats().values() if form.preparation and form.is_trained == is_trained]
    wanted = list({form.preparation: form.name for form in known}.values())
    made = export(run, wanted, options=Options(calibration_samples=20, epochs=1 if is_trained else None))
    assert len(made) == len(wanted) >= 2
    if is_trained:
        assert read == splits["train"] | splits["validation"]
    else:
        assert len(read) == 20
        assert read <= splits["train"]
    assert not read & splits["test"]
