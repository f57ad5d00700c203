"""This module names what every method of training is given, and what it returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tledge.backbones import Backbone
from tledge.datasets.prepare import Dataset
from tledge.progress import Progress
from tledge.records import FeatureRecord
from tledge.training.recipe import Recipe

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Task:
    """A task describes one training.

    ``folder`` is the run that is being built. ``state`` is the folder of a state to resume from, or None. ``on_epoch``
    is given each epoch's number, from 1, and its row of the history.
    """

    backbone: Backbone
    data: Dataset
    recipe: Recipe
    seed: int
    folder: Path
    state: Path | None
    progress: Progress
    on_epoch: Callable[[int, dict[str, float]], None] = lambda epoch, row: None

    @property
    def num_classes(self) -> int:
        """Return the number of classes in the data set."""
        return len(self.data.source.labels)

    def rows(self, *splits: str) -> Indices:
        """Return the rows of the photos in these splits, one split after another.

        The test split is asked for only at the end, for its logits.
        """
        return np.concatenate(
            [rows for name in splits for split, rows in self.data.splits.rows.items() if split == name]
        )


@dataclass(frozen=True)
class Trained:
    """A finished training is described here, once its SavedModel is written.

    ``recipe`` is the recipe as it was carried out, with the cut and the epochs that a time budget chose. ``features``
    says what computed frozen features, or None where none were used. Logits are float32 (N, C), in the order of the
    splits' rows.
    """

    recipe: Recipe
    history: list[dict[str, float]]
    best_epoch: int
    validation_logits: Floats
    test_logits: Floats
    features: FeatureRecord | None
