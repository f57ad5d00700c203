"""A study keeps a search on the disk, with its inputs and every trial that ended, so that it can go on from there."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tledge.classifier import LINEAR
from tledge.errors import InputError
from tledge.files import make_folder
from tledge.records import Fraction, Record
from tledge.resizing import SQUEEZE
from tledge.run import ELSEWHERE
from tledge.training.recipe import Recipe, without_unread

STUDY = "study.json"


class HeadChoice(Record):
    """These are the values of a recipe that are searched."""

    learning_rate: float = Field(gt=0, le=10)
    dropout: float = Field(ge=0, lt=1)
    label_smoothing: float = Field(ge=0, lt=1)
    head: str
    batch_size: int = Field(ge=1, le=65_536)

    @classmethod
    def of(cls, recipe: Recipe) -> HeadChoice:
        """Return the searched values of a recipe."""
        return cls(**{name: getattr(recipe, name) for name in cls.model_fields})

    @property
    def has_steps(self) -> bool:
        """Tell whether the head is trained by steps, so that its epochs compare with those of other such heads."""
        return self.head != LINEAR

    def applied(self, recipe: Recipe) -> Recipe:
        """Return the recipe with these values in place, except those that a linear head does not read."""
        return without_unread(recipe.model_copy(update=dict(self)))


class Trial(Record):
    """A trial is the training of one head, which may end early. Its accuracies are those of the validation split."""

    choice: HeadChoice
    ended: Literal["whole", "pruned", "diverged"]
    accuracies: Annotated[list[Fraction], Field(max_length=10_000)] = Field(
        description="This is the validation accuracy after each epoch, a fraction from 0 to 1."
    )
    best_epoch: Annotated[int, Field(ge=1)] | None = Field(
        description="This is the epoch whose weights are the result of the trial, from 1. The value is None unless the trial "
        "was trained to its end."
    )

    @model_validator(mode="after")
    def _only_a_whole_one_has_a_best_epoch(self) -> Self:
        if (self.ended == "whole") != (self.best_epoch is not None) or (self.best_epoch or 0) > len(self.accuracies):
            raise ValueError(f"best epoch {self.best_epoch} of {len(self.accuracies)} epochs, {self.ended}")
        return self

    @property
    def accuracy(self) -> float | None:
        """Return the validation accuracy of the best epoch; None unless the trial was trained to its end."""
        return self.accuracies[self.best_epoch - 1] if self.best_epoch else None

    @property
    def highest(self) -> float | None:
        """Return the accuracy of the best epoch, or the highest accuracy of a trial that was not trained to its end.

        Returns None where no epoch ended.
        """
        return self.accuracy if self.best_epoch else max(self.accuracies, default=None)


class Study(Record):
    """``study.json`` records a search for a head.

    A search can be continued only if all other fields than ``dataset``, ``backbone`` and ``trials`` are unchanged.
    """

    schema_version: int = 2
    dataset: str
    backbone: str
    splits_sha256: dict[Literal["train", "validation"], str]
    backbone_sha256: str
    input_size: int
    recipe: Recipe = Field(
        description="This is the recipe with which the search starts. Values that are not searched stay as they are in "
        "it."
    )
    seed: int
    pixel_range: list[int] | None = Field(
        default=None,
        description="These are the two 16-bit values that stand for black and for white. The value is None if no "
        "`--pixel-range` was given.",
    )
    resize: str = Field(
        default=str(SQUEEZE),
        description="This text says how a photo becomes a square of the input's size, in the words of `--resize`.",
    )
    trials: list[Trial] = Field(default=[])

    def best(self) -> int | None:
        """Return the index of the trial of the highest accuracy, of those trained to their end; None where there is none.

        Of equal trials, the first counts."""
        whole = [(place, trial.accuracy) for place, trial in enumerate(self.trials) if trial.accuracy is not None]
        return max(whole, key=lambda entry: entry[1], default=(None, 0.0))[0]


def _range(study: Study) -> str:
    return "not given" if study.pixel_range is None else "..".join(map(str, study.pixel_range))


@contextlib.contextmanager
def begun(folder: Path, asked: Study) -> Iterator[Study]:
    """Yield the study that is kept in ``folder``, or ``asked`` where the folder is new.

    Precondition: this process holds the folder's name. Raises InputError where the study has other photos or another
    backbone, recipe, seed, input size, pixel range or resize; ArtifactError where its file is damaged.
    """
    make_folder(folder, ELSEWHERE)
    if not (folder / STUDY).is_file():
        try:
            yield asked
        finally:
            if not (folder / STUDY).is_file():  # no trial ended
                shutil.rmtree(folder)
        return
    kept = Study.load(folder / STUDY, f"Remove {folder}, or choose another --study.")
    compared = {
        f"photos (from {kept.dataset}, now {asked.dataset}) or --seed": kept.splits_sha256 != asked.splits_sha256,
        f"--backbone (was {kept.backbone})": kept.backbone_sha256 != asked.backbone_sha256,
        f"--image-size (was {kept.input_size})": kept.input_size != asked.input_size,
        f"--recipe (was {kept.recipe.name})": kept.recipe != asked.recipe,
        f"--seed (was {kept.seed})": kept.seed != asked.seed,
        f"--pixel-range (was {_range(kept)})": kept.pixel_range != asked.pixel_range,
        f"--resize (was {kept.resize})": kept.resize != asked.resize,
    }
    others = [what for what, differs in compared.items() if differs]
    if others:
        raise InputError(
            f"study {folder.name} was begun with other values: {'; '.join(others)}. Give those, or another --study."
        )
    yield kept
