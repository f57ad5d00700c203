"""This module searches the head's hyperparameters on features computed once, and judges by the validation split."""

from __future__ import annotations

import contextlib
import math
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import Field

from tledge.backbones import DEFAULT, open_backbone
from tledge.datasets import open_source
from tledge.datasets.prepare import Dataset, prepare_dataset, require_classes
from tledge.errors import InputError
from tledge.files import atomic_write, make_folder
from tledge.locks import reserved, reserved_new
from tledge.outputs import make_root
from tledge.pixel_range import PixelRange
from tledge.preprocessing import Preparation
from tledge.progress import Progress, Silent
from tledge.records import Fraction, Record
from tledge.resizing import SQUEEZE, Resize
from tledge.run import ELSEWHERE, artifacts_root
from tledge.training.build import default_name
from tledge.training.by_features import material, needs
from tledge.training.fit import Diverged, Head, fit_head
from tledge.training.needs import Plan, require_room
from tledge.training.plot import plot_trials
from tledge.training.proposals import proposed
from tledge.training.recipe import HEAD, Recipe
from tledge.training.resolve import to_toml
from tledge.training.study import STUDY, HeadChoice, Study, Trial, begun

STUDIES = ".studies"  # folder in the artifacts folder
MAX_TRIALS = 10_000
OnEpoch = Callable[[int, dict[str, float]], None]


class _OutOfTime(Exception):
    """This exception ends the trial at hand at the deadline, and is no error."""


class Tuned(Record):
    """This is the outcome of a search; accuracies are those of the validation split."""

    study: str
    folder: Path
    num_trials: int
    num_pruned: int
    num_validation: int = Field(description="This is the number of photos in the validation split.")
    best_trial: int = Field(
        description="This is the number of the best trial, counted from 1. Trial 1 is the recipe as it was given."
    )
    accuracy: Fraction
    start_accuracy: Fraction | None = Field(
        description="This is the validation accuracy of trial 1, a fraction from 0 to 1. The value is None if the trial "
        "diverged."
    )
    recipe: Recipe
    recipe_file: Path = Field(description="This is the path of the TOML file that holds the best recipe.")


def tune(
    dataset: str,
    *,
    backbone: str = DEFAULT,
    input_size: int | None = None,
    weights: str | None = None,
    recipe: Recipe = HEAD,
    num_trials: int = 50,
    timeout_s: float | None = None,
    seed: int = 0,
    study: str | None = None,
    pixel_range: PixelRange | None = None,
    resize: Resize = SQUEEZE,
    artifacts: Path | None = None,
    progress: Progress | None = None,
) -> Tuned:
    """Search for the values of :class:`~tledge.training.study.HeadChoice` with the highest validation accuracy.

    The splits are those of :func:`tledge.training.build.build`, and so are the arguments that are not listed here. The
    test split is set apart: its features are not computed, and it is neither trained on nor scored.

    Args:
        recipe: is the first trial, and keeps the values that are not searched.
        num_trials: how many trials the study has in all. A study that has some already goes on from there.
        timeout_s: no trial is trained on after so many seconds.
        study: name of the search and of its folder in ``.studies`` of the artifacts folder. None makes one from data
            set,
            backbone and time. No other process may run the same study. The folder holds study.json, trials.png and the
            winner as NAME.toml.

    Raises:
        InputError: the input is wrong, or the time ends before the first trial does.
        EnvironmentFault: the machine lacks network, disk, memory or files.
    """
    deadline = time.monotonic() + (math.inf if timeout_s is None else timeout_s)
    progress = progress or Silent()
    _check(recipe, num_trials, timeout_s, seed, study)
    with progress.step("loading TensorFlow"):
        from tledge.tensorflow_setup import tensorflow

        tensorflow(seed)
    with contextlib.ExitStack() as stack:
        studies = artifacts_root(artifacts) / STUDIES
        make_root(studies.parent, ELSEWHERE)
        make_folder(studies, ELSEWHERE)
        if study is not None:
            busy = f"at study {study} in {studies}. Choose another --study, or wait for its end."
            stack.enter_context(reserved(studies, study, busy))
        with progress.step("opening the data set"):
            source = open_source(dataset)
        require_classes(source)
        name = default_name(source.name, backbone) if study is None else study
        if study is None:
            name = stack.enter_context(reserved_new(studies, name, lambda other: (studies / other).exists()))
        with progress.step("loading the backbone"):
            extractor = open_backbone(backbone, input_size, weights, seed)
        stack.callback(extractor.close)
        if not extractor.is_pretrained:
            raise InputError(
                f"backbone {backbone} was never trained: its features mean nothing, and no head is tuned on them"
            )
        plan = Plan(extractor, recipe, source.num_photos, len(source.labels))
        resize.checked(extractor.input_size)
        preparation = Preparation(pixel_range, resize=resize)
        require_room(needs(plan), source, extractor.input_size, preparation)
        data = prepare_dataset(source, extractor.input_size, seed, progress, preparation)
        folder = studies / name
        asked = Study(
            dataset=dataset,
            backbone=backbone,
            splits_sha256={split: data.split_records()[split].sha256 for split in ("train", "validation")},
            backbone_sha256=extractor.sha256,
            input_size=extractor.input_size,
            recipe=recipe,
            seed=seed,
            pixel_range=None if pixel_range is None else list(pixel_range),
            resize=str(resize),
        )
        found = stack.enter_context(begun(folder, asked))
        if found.trials:
            progress.say(f"study {name} goes on after {len(found.trials)} trials")
        try:
            fit = _fitter(data, extractor, recipe, seed, progress)
            searched = _search(found, fit, folder, num_trials, deadline, progress)
        except KeyboardInterrupt:
            progress.warn(f"study {name} keeps the trials that ended. The same command with --study {name} goes on.")
            raise
        return _outcome(searched, folder, len(data.splits.rows["validation"]))


def _check(recipe: Recipe, num_trials: int, timeout_s: float | None, seed: int, study: str | None) -> None:
    """Raise InputError for arguments that can't be searched with."""
    if not 1 <= num_trials <= MAX_TRIALS:
        raise InputError(f"--trials {num_trials}: use a whole number from 1 to {MAX_TRIALS:,}")
    if timeout_s is not None and not timeout_s > 0:
        raise InputError(f"--timeout {timeout_s:g}: use a time above 0 like 90s, 5m or 1h")
    if not 0 <= seed < 2**32:
        raise InputError(f"--seed {seed}: use a whole number from 0 to 4294967295")
    if study is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", study):
        raise InputError(
            f"--study {study!r}: use letters, digits, '.', '_' and '-', at most 100, starting with a letter or digit"
        )
    if recipe.method != "features":
        raise InputError(
            f"--recipe {recipe.name}: only recipes that train the head alone are searched, on features computed once. "
            "Use head, or a .toml file that starts from it."
        )


def _fitter(
    data: Dataset, backbone: Any, recipe: Recipe, seed: int, progress: Progress
) -> Callable[[Recipe, OnEpoch], Head]:
    """Return a function that trains a head on the data set's features, as ``build`` does."""
    found, num_classes = material(backbone, data, recipe, seed, progress), len(data.source.labels)

    def fit(recipe: Recipe, on_epoch: OnEpoch) -> Head:
        return fit_head(
            found.features, found.labels, found.train, found.validation, num_classes, recipe, seed, Silent(), on_epoch
        )

    return fit


def _search(
    kept: Study,
    fit: Callable[[Recipe, OnEpoch], Head],
    folder: Path,
    num_trials: int,
    deadline: float,
    progress: Progress,
) -> Study:
    """Run trials up to ``num_trials`` in all, and return the study; each trial is saved as soon as it ended."""
    with progress.step("trials", num_trials) as advance:
        advance(min(len(kept.trials), num_trials))
        while len(kept.trials) < num_trials:
            try:
                trial = _train(kept, fit, deadline)
            except _OutOfTime:
                progress.warn(f"the time ended after {len(kept.trials)} of {num_trials} trials")
                break
            kept = kept.model_copy(update={"trials": [*kept.trials, trial]})
            kept.save(folder / STUDY)
            advance(1)
            number, accuracy = len(kept.trials), trial.accuracy
            if kept.best() == number - 1:
                _write_recipe(folder, trial.choice.applied(kept.recipe))
            reached = trial.ended if accuracy is None else f"validation accuracy {accuracy:.2%}"
            progress.say(f"trial {number}: {reached} after {len(trial.accuracies)} epochs")
    return kept


def _train(kept: Study, fit: Callable[[Recipe, OnEpoch], Head], deadline: float) -> Trial:
    """Run the next trial of a study, which is chosen from the trials before it.

    The trial ends early where it is worse than most of them. Accuracy judges, not the loss, which label smoothing
    raises by itself. Raises _OutOfTime at the deadline.
    """
    import optuna

    asked = proposed(kept)
    choice = HeadChoice.of(HeadChoice(**asked.params).applied(kept.recipe))
    accuracies: list[float] = []

    def judge(epoch: int, row: dict[str, float]) -> None:
        accuracies.append(row["val_accuracy"])
        if choice.has_steps:
            asked.report(row["val_accuracy"], epoch)
        if time.monotonic() >= deadline:
            raise _OutOfTime
        if asked.should_prune():
            raise optuna.TrialPruned

    try:
        head = fit(choice.applied(kept.recipe), judge)
    except optuna.TrialPruned:
        return Trial(choice=choice, ended="pruned", accuracies=accuracies, best_epoch=None)
    except Diverged:
        return Trial(choice=choice, ended="diverged", accuracies=accuracies, best_epoch=None)
    return Trial(choice=choice, ended="whole", accuracies=accuracies, best_epoch=head.best_epoch)


def _write_recipe(folder: Path, recipe: Recipe) -> Path:
    path = folder / f"{folder.name}.toml"  # a recipe read from a file takes the file's name
    atomic_write(path, to_toml(recipe).encode())
    return path


def _outcome(kept: Study, folder: Path, num_validation: int) -> Tuned:
    """Return the winner with its recipe, and draw the plot; raise InputError where no trial came to its end."""
    best = kept.best()
    if best is None:
        cause = (
            "Every trial diverged: lower the learning rate of --recipe." if kept.trials else "Give more with --timeout."
        )
        raise InputError(f"no trial of study {folder.name} came to its end. {cause}")
    plot_trials(
        [trial.highest for trial in kept.trials],
        [trial.ended != "whole" for trial in kept.trials],
        folder / "trials.png",
    )
    winner, start = kept.trials[best], kept.trials[0]
    assert winner.accuracy is not None
    recipe = winner.choice.applied(kept.recipe).model_copy(update={"name": folder.name})
    return Tuned(
        study=folder.name,
        folder=folder,
        num_trials=len(kept.trials),
        num_pruned=sum(trial.ended == "pruned" for trial in kept.trials),
        num_validation=num_validation,
        best_trial=best + 1,
        accuracy=winner.accuracy,
        start_accuracy=start.accuracy,
        recipe=recipe,
        recipe_file=_write_recipe(folder, recipe),
    )
