"""A search for a better head: repeatable, resumable, judged by the validation split and by nothing else."""

from __future__ import annotations

import gc
import hashlib
import json
import math
import shlex
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tledge.backbones import open_backbone
from tledge.cache import CachedRows, RowCache
from tledge.datasets import open_source
from tledge.datasets.prepare import Dataset, prepare_dataset
from tledge.errors import ArtifactError, InputError
from tledge.files import read_sealed, write_sealed
from tledge.progress import Silent
from tledge.run import open_run
from tledge.training.fit import Head, fit_head
from tledge.training.recipe import HEAD, Recipe
from tledge.training.resolve import resolve, to_toml
from tledge.training.study import STUDY, HeadChoice, Study
from tledge.training.tune import OnEpoch, Tuned, _outcome, _search, tune

pytestmark = pytest.mark.long  # minutes in all

INPUT, ENVIRONMENT = 2, 3
Command = Callable[..., Any]
SHORT = HEAD.model_copy(update={"max_epochs": 4})
HIDDEN = SHORT.model_copy(update={"head": "mlp:64"})


@pytest.fixture
def search(tiny_backbone: Path, tmp_path: Path) -> Callable[..., Tuned]:
    """Tune digits on 48 features; trials of a few epochs, which the rate of the recipe is too low for."""

    def run(**options: Any) -> Tuned:
        given = {"backbone": str(tiny_backbone), "recipe": SHORT, "num_trials": 3, "study": "s", "artifacts": tmp_path}
        return tune("digits", **{**given, **options})

    return run


def _study(folder: Path) -> Study:
    return Study.load(folder / STUDY, "")


@pytest.mark.long  # each runs a search
def test_the_printed_command_builds_what_the_search_promised(
    tledge: Command, tiny_backbone: Path, tmp_path: Path
) -> None:
    (tmp_path / "start.toml").write_text('head = "mlp:64"\nmax_epochs = 4\nclass_weights = true\n')
    options = ["--backbone", tiny_backbone, "--recipe", tmp_path / "start.toml", "--trials", "4", "--seed", "3"]
    outcome = tledge("tune", "--dataset", "digits", *options, "--study", "s", "--artifacts", tmp_path, "--json")
    assert outcome.code == 0, outcome.err
    made = json.loads(outcome.out)
    assert made["accuracy"] > made["start_accuracy"]
    assert made["best_trial"] > 1
    first, *arguments = shlex.split(made["command"])
    assert first == "tledge"
    assert tledge(*arguments, "--run", "winner").code == 0
    manifest = open_run(tmp_path, "winner").manifest
    assert manifest.metrics["validation"].accuracy == pytest.approx(made["accuracy"], abs=1e-7)
    assert manifest.splits["validation"].num_photos == made["num_validation"]
    assert manifest.recipe == made["recipe"] == resolve(made["recipe_file"], {}).as_json()
    assert manifest.recipe["class_weights"]  # what is not searched stays
    with Image.open(Path(made["folder"]) / "trials.png") as picture:
        assert picture.format == "PNG"
    files = {path.name for path in Path(made["folder"]).iterdir()}
    assert files == {"s.toml", "study.json", "trials.png"}


def test_a_person_reads_the_winner_and_the_command(tledge: Command, tiny_backbone: Path, tmp_path: Path) -> None:
    options = ["--backbone", tiny_backbone, "--trials", "1", "--study", "s", "--artifacts", tmp_path]
    outcome = tledge("tune", "--dataset", "digits", *options)
    assert outcome.code == 0, outcome.err
    said, command = outcome.out.splitlines()
    assert said.startswith("study s: trial 1 of 1 (0 pruned) is the best: validation accuracy ")
    assert command.startswith("tledge build --dataset digits --backbone ")
    assert "trial 1: validation accuracy" in outcome.err


@pytest.mark.long  # each runs a search
def test_a_search_that_was_interrupted_ends_as_an_unbroken_one(search: Callable[..., Tuned]) -> None:
    class CtrlC(Silent):
        def say(self, message: str) -> None:
            if message.startswith("trial 2"):
                raise KeyboardInterrupt

    unbroken, progress = search(study="unbroken", num_trials=4), CtrlC()
    with pytest.raises(KeyboardInterrupt):
        search(num_trials=4, progress=progress)
    assert progress.warnings == ["study s keeps the trials that ended. The same command with --study s goes on."]
    resumed = search(num_trials=4)
    trials = _study(resumed.folder).trials
    assert trials == _study(unbroken.folder).trials
    assert resumed.recipe == unbroken.recipe.model_copy(update={"name": "s"})
    assert len({trial.choice.label_smoothing for trial in trials}) == 4
    assert search(num_trials=2).num_trials == 4  # nothing more to do


def test_the_first_trial_is_the_recipe_as_given_wherever_its_values_are(search: Callable[..., Tuned]) -> None:
    given = SHORT.model_copy(update={"head": "mlp:100", "batch_size": 48, "learning_rate": 1.5, "label_smoothing": 0.4})
    first = _study(search(recipe=given, num_trials=1).folder).trials[0]
    assert first.choice.applied(SHORT) == given


def test_what_a_linear_head_does_not_read_stays_as_build_takes_it(search: Callable[..., Tuned], tmp_path: Path) -> None:
    given = HIDDEN.model_copy(update={"learning_rate": 0.02, "dropout": 0.1})
    choice = HeadChoice.of(given).model_copy(update={"head": "linear", "label_smoothing": 0.2})
    applied = choice.applied(given)
    assert (applied.head, applied.label_smoothing) == ("linear", 0.2)
    path = tmp_path / "won.toml"
    path.write_text(to_toml(applied))
    assert resolve(str(path), {}).as_json() == {**applied.as_json(), "name": "won"}
    linear = [trial.choice for trial in _study(search(num_trials=6).folder).trials if trial.choice.head == "linear"]
    assert {(choice.learning_rate, choice.dropout, choice.batch_size) for choice in linear} == {(1e-3, 0.5, 64)}


def test_the_test_split_is_neither_trained_on_nor_scored(
    search: Callable[..., Tuned], tiny_backbone: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = _digits(16)
    seen: set[bytes] = set()
    get = CachedRows.__getitem__

    def spy(rows: CachedRows, index: Any) -> Any:
        found = get(rows, index)
        if rows._cache.shape == (16, 16, 3):
            seen.update(hashlib.sha256(row.tobytes()).digest() for row in found.reshape(-1, 16 * 16 * 3))
        return found

    monkeypatch.setattr(CachedRows, "__getitem__", spy)
    search(num_trials=2)
    monkeypatch.undo()
    monkeypatch.setenv("TLEDGE_CACHE_DIR", str(empty_cache))
    pixels = {
        split: {hashlib.sha256(row.tobytes()).digest() for row in data.pixels[rows]}
        for split, rows in data.splits.rows.items()
    }
    assert seen == pixels["train"] | pixels["validation"]
    assert not seen & pixels["test"]
    backbone = open_backbone(str(tiny_backbone))
    (namespace,) = [path for path in empty_cache.glob("features-v*/*") if path.name.startswith(backbone.sha256[:32])]
    features = RowCache(str(namespace.relative_to(empty_cache)), (48,), np.float32)
    for split, rows in data.splits.rows.items():
        held = [data.content_sha256[row] in features for row in rows]
        assert not any(held) if split == "test" else all(held)


def _digits(size: int) -> Dataset:
    return prepare_dataset(open_source("digits"), size, 0, Silent())


@pytest.mark.long  # each runs a search
def test_trials_worse_than_most_end_early(search: Callable[..., Tuned]) -> None:
    tuned = search(recipe=HIDDEN.model_copy(update={"max_epochs": 8}), num_trials=10)
    trials = _study(tuned.folder).trials
    assert tuned.num_pruned == sum(trial.ended == "pruned" for trial in trials) > 0
    for number, trial in enumerate(trials):
        whole = [earlier for earlier in trials[:number] if earlier.ended == "whole"]
        if trial.ended == "pruned":
            assert trial.choice.head != "linear"
            epoch = len(trial.accuracies)
            reached = [
                earlier.accuracies[epoch - 1]
                for earlier in whole
                # The epochs of a linear head are strengths of regularisation, and tell nothing of another's.
                if len(earlier.accuracies) >= epoch and earlier.choice.head != "linear"
            ]
            assert max(trial.accuracies) < statistics.median(reached)
            assert epoch >= 5
            assert len(whole) >= 5
    assert trials[tuned.best_trial - 1].accuracy == max(trial.accuracy or 0 for trial in trials) == tuned.accuracy


@pytest.mark.long  # each runs a search
def test_a_head_leaves_no_graph_behind(search: Callable[..., Tuned]) -> None:
    def graphs() -> int:
        gc.collect()
        return sum(type(one).__name__ == "FuncGraph" and one.name == "train_pass" for one in gc.get_objects())

    before = graphs()
    search(recipe=HIDDEN, num_trials=2)
    assert graphs() == before


@pytest.mark.usefixtures("empty_cache")
def test_heads_that_diverge_are_no_winners_and_alone_an_error(search: Callable[..., Tuned]) -> None:
    folder = search(num_trials=1).folder
    values = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    values[59, 0] = np.inf  # of a validation photo: no loss of it is finite
    cache, keys = RowCache("features", (4,), np.float32), [bytes([number]) * 32 for number in range(60)]
    cache.add(zip(keys, values, strict=True), 60)

    def fit(recipe: Recipe, on_epoch: OnEpoch) -> Head:
        train, validation = np.split(np.arange(60), [40])
        return fit_head(cache.rows(keys), np.arange(60) % 2, train, validation, 2, recipe, 0, Silent(), on_epoch)

    kept = _search(_study(folder), fit, folder, 3, math.inf, Silent())
    assert [trial.ended for trial in kept.trials] == ["whole", "diverged", "diverged"]
    assert kept.best() == 0
    assert _outcome(kept, folder, 20).best_trial == 1
    with pytest.raises(InputError, match="no trial of study s came to its end. Every trial diverged"):
        _outcome(kept.model_copy(update={"trials": kept.trials[1:]}), folder, 20)


@pytest.mark.long  # each runs a search
def test_the_time_ends_a_search_and_the_trials_before_count(search: Callable[..., Tuned], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no trial of study s came to its end. Give more with --timeout"):
        search(timeout_s=1e-3)
    assert not (tmp_path / ".studies" / "s").exists()
    search(num_trials=2)
    progress = Silent()
    assert search(num_trials=50, timeout_s=1e-3, progress=progress).num_trials == 2
    assert progress.warnings[-1] == "the time ended after 2 of 50 trials"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--trials", "0"], "--trials 0: use a whole number from 1 to 10,000"),
        (["--timeout", "-5m"], "--timeout '-5m': use a time above 0 like 90s, 5m or 1h"),
        (["--timeout", "0s"], "use a time above 0"),
        (["--seed", "-1"], "--seed -1: use a whole number from 0"),
        (["--study", "../up"], "--study '../up': use letters, digits"),
        (["--recipe", "finetune"], "--recipe finetune: only recipes that train the head alone are searched"),
        (["--recipe", "heed"], "unknown recipe 'heed'. Did you mean 'head'"),
        (["--backbone", "lenet"], "backbone lenet was never trained"),
    ],
)
def test_what_can_not_be_searched_is_refused_with_the_way_out(
    tledge: Command, tmp_path: Path, options: list[str], problem: str
) -> None:
    outcome = tledge("tune", "--dataset", "digits", "--backbone", "bundled", "--artifacts", tmp_path, *options)
    assert outcome.code == INPUT, outcome.err
    assert f"error: {problem}" in outcome.err or problem in outcome.err
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_study_of_something_else_is_not_gone_on_with(
    search: Callable[..., Tuned], save_module: Callable[..., Path], photo_folder: Callable[..., Path]
) -> None:
    import tensorflow as tf

    folder = search(num_trials=1).folder
    other = save_module(lambda pixels: tf.reshape(tf.nn.max_pool2d(pixels, 4, 4, "VALID"), (-1, 48)))
    before = (folder / STUDY).read_bytes()
    with pytest.raises(InputError, match=r"study s was begun with other values: .*--seed \(was 0\)\. Give those, or"):
        search(seed=1)
    with pytest.raises(InputError, match=r"begun with other values: --backbone \(was .*\)\. Give"):
        search(backbone=str(other))
    with pytest.raises(InputError, match=r"begun with other values: --recipe \(was head\)\."):
        search(recipe=Recipe())
    with pytest.raises(InputError, match=r"begun with other values: photos \(from digits, now .*photos\) or --seed\."):
        tune(
            str(photo_folder({"cat": 30, "dog": 30})),
            backbone=_study(folder).backbone, recipe=SHORT, study="s", artifacts=folder.parent.parent,
        )  # fmt: skip
    assert (folder / STUDY).read_bytes() == before


def test_a_damaged_study_is_an_error_that_names_its_folder(search: Callable[..., Tuned]) -> None:
    folder = search(num_trials=1).folder
    whole = (folder / STUDY).read_bytes()
    (folder / STUDY).write_bytes(whole.replace(b'"seed": 0', b'"seed": 1'))
    with pytest.raises(ArtifactError, match=r"changed since tledge wrote it.*Remove .*/s, or choose another --study"):
        search()
    (folder / STUDY).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ArtifactError, match="not a whole JSON record"):
        search()


def test_a_forged_trial_is_refused(search: Callable[..., Tuned]) -> None:
    folder = search(num_trials=1).folder
    record = read_sealed(folder / STUDY, "")
    (trial,) = record["trials"]
    for change, problem in (
        ({"choice": {**trial["choice"], "learning_rate": 5.0}}, "holds a trial out of the ranges that are searched"),
        ({"choice": {**trial["choice"], "head": "mlp:7"}}, "holds a trial out of the ranges that are searched"),
        ({"best_epoch": 99}, "best epoch 99 of 4 epochs"),
        ({"accuracies": [2.0]}, "less than or equal to 1"),
        ({"ended": "pruned"}, "best epoch 4 of 4 epochs, pruned"),
    ):
        write_sealed(folder / STUDY, {**record, "trials": [{**trial, **change}]})
        with pytest.raises(ArtifactError, match=problem):
            search()
