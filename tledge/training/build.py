"""This module builds a run: it reads a data set, trains a classifier and writes the run folder."""

from __future__ import annotations

import contextlib
import csv
import io
import re
import time
from pathlib import Path

import numpy as np

from tledge._version import __version__
from tledge.backbones import DEFAULT, IMAGENET, NO_WEIGHTS, Backbone, is_name, open_backbone
from tledge.backbones.own_graph import errors_of
from tledge.cache import scratch_folder
from tledge.datasets import open_source
from tledge.datasets.prepare import prepare_dataset, require_classes
from tledge.doubts import doubts
from tledge.errors import InputError
from tledge.files import atomic_write
from tledge.home import expanded
from tledge.pixel_range import PixelRange
from tledge.preprocessing import Preparation
from tledge.progress import Progress, Silent
from tledge.records import DeviceRecord
from tledge.resizing import SQUEEZE, Resize, parse_resize
from tledge.run import Run, artifacts_root, check_name, library_versions, open_run
from tledge.run_writer import LIBRARIES, MadeModel, finish, reserved_new_run, reserved_run, staged_run
from tledge.training.augmentation import contact_sheet
from tledge.training.augmentation_settings import PRESETS
from tledge.training.fit import HISTORY_COLUMNS
from tledge.training.method import Task, Trained
from tledge.training.needs import Plan, require_room
from tledge.training.placement import require_copyable, start
from tledge.training.plot import plot_history
from tledge.training.recipe import RECIPES, Recipe
from tledge.training.resolve import default
from tledge.training.trackers import require_trackers, told, trackers
from tledge.training.unfinished import Request, kept_state, recall, remove_finished


def build(
    dataset: str,
    *,
    backbone: str = DEFAULT,
    input_size: int | None = None,
    weights: str | None = None,
    recipe: Recipe | None = None,
    seed: int = 0,
    run: str | None = None,
    artifacts: Path | None = None,
    progress: Progress | None = None,
    resume: bool = False,
    tensorboard: Path | None = None,
    mlflow: bool = False,
    pixel_range: PixelRange | None = None,
    resize: Resize = SQUEEZE,
) -> Run | None:
    """Train a classifier and write its run folder.

    The arguments, the result and the errors are those of :func:`tledge.api.build`, which checks them and calls this in a process
    of its own. None shows no progress here.
    """
    started = time.perf_counter()
    progress = progress or Silent()
    recipe = recipe or RECIPES[default(backbone, weights)]
    _check_asked(seed, run, tensorboard, mlflow)
    root = artifacts_root(artifacts)
    with progress.step("loading TensorFlow"):
        from tledge.tensorflow_setup import device, tensorflow

        tensorflow(seed)
    met = start(recipe, seed, {"tledge": __version__, **library_versions(*LIBRARIES)}, progress)
    with contextlib.ExitStack() as stack:
        if run is not None and met.is_chief:
            stack.enter_context(reserved_run(root, run))
        with progress.step("opening the data set"):
            source = open_source(dataset)
        require_classes(source)
        name = default_name(source.name, backbone) if run is None else run
        if run is None and met.is_chief:
            name = stack.enter_context(reserved_new_run(root, name))
        request = Request(
            dataset=source.spec,
            backbone=backbone if is_name(backbone) else _absolute(backbone, "backbone"),
            input_size=input_size,
            weights=weights if weights in (None, IMAGENET, NO_WEIGHTS) else _absolute(weights, "--weights"),
            recipe=recipe,
            seed=seed,
            run=name,
            tensorboard=None if tensorboard is None else str(tensorboard.absolute()),
            mlflow=mlflow,
            pixel_range=None if pixel_range is None else list(pixel_range),
            resize=str(resize),
        )
        keeps = recipe.method != "features" and met.is_chief
        state = stack.enter_context(
            kept_state(root, request, progress, goes_on=resume) if keeps else contextlib.nullcontext()
        )
        staging = stack.enter_context(staged_run(root, name) if met.is_chief else scratch_folder())
        from tledge.training import by_features, by_network

        where = device()
        progress.say(f"device: {where.kind}, {where.name}")
        progress.say(f"recipe: {recipe.name}")
        with progress.step("loading the backbone"):
            extractor = stack.enter_context(contextlib.closing(open_backbone(backbone, input_size, weights, seed)))
        stack.enter_context(errors_of(backbone))
        _check(recipe, extractor, where, progress)
        method = by_features if recipe.method == "features" else by_network
        plan = Plan(extractor, recipe, source.num_photos, len(source.labels), state)
        resize.checked(extractor.input_size)
        preparation = Preparation(pixel_range, resize=resize)
        require_room(method.needs(plan), source, extractor.input_size, preparation)
        data = prepare_dataset(source, extractor.input_size, seed, progress, preparation)
        wanted = (tensorboard, mlflow) if met.is_chief else (None, False)
        watching = stack.enter_context(trackers(name, recipe.as_json(), *wanted))
        trained = method.train(Task(extractor, data, recipe, seed, staging, state, progress, told(watching)))
        if trained is None:
            progress.say(f"worker {met.index} of {met.count} has done its share. The chief, worker 0, writes the run.")
            return None
        _write_history(staging, trained)
        if recipe.augment != PRESETS["none"]:
            photos = np.asarray(data.pixels[data.splits.rows["train"][:6]], np.uint8)
            contact_sheet(photos, recipe.augment, seed, staging / "augmentation.png")
        made = MadeModel(
            recipe=trained.recipe.as_json(),
            seed=seed,
            num_epochs=len(trained.history),
            best_epoch=trained.best_epoch,
            validation_logits=trained.validation_logits,
            test_logits=trained.test_logits,
            features=trained.features,
            device=where,
            wall_time_s=round(time.perf_counter() - started, 2),
        )
        manifest = finish(staging, name, data, extractor, made)
        for tracker in watching:
            tracker.end(manifest)
    return _told(open_run(root, name), progress)


def go_on(run: str | None = None, artifacts: Path | None = None, progress: Progress | None = None) -> Run | None:
    """Finish the build of a run that was killed or interrupted; without a name, of the only unfinished one.

    Returns what :func:`build` returns. A build that was killed after its run was complete needs no more work.
    """
    root = artifacts_root(artifacts)
    request = recall(root, run)
    progress = progress or Silent()
    with reserved_run(root, request.run):
        is_finished = remove_finished(root, request.run, progress)
    if is_finished:
        return _told(open_run(root, request.run), progress)
    return build(
        request.dataset,
        backbone=request.backbone,
        input_size=request.input_size,
        weights=request.weights,
        recipe=request.recipe,
        seed=request.seed,
        run=request.run,
        artifacts=artifacts,
        progress=progress,
        resume=True,
        tensorboard=None if request.tensorboard is None else Path(request.tensorboard),
        mlflow=request.mlflow,
        pixel_range=None if request.pixel_range is None else PixelRange(*request.pixel_range),
        resize=parse_resize(request.resize),
    )


def _told(run: Run, progress: Progress) -> Run:
    """Return the run, after warning the user of everything that speaks against its model."""
    for doubt in doubts(run.manifest):
        progress.warn(doubt)
    return run


def _check_asked(seed: int, run: str | None, tensorboard: Path | None, mlflow: bool) -> None:
    """Raise InputError or EnvironmentFault for wrong arguments that show before anything is read."""
    if not 0 <= seed < 2**32:
        raise InputError(f"--seed {seed}: use a whole number from 0 to 4294967295")
    if run is not None:
        check_name(run)
    require_trackers(tensorboard, mlflow)


def _absolute(path: str, option: str) -> str:
    return str(expanded(path, f"{option} {path}").absolute())


def _check(recipe: Recipe, backbone: Backbone, where: DeviceRecord, progress: Progress) -> None:
    """Raise InputError for a recipe that does not fit this backbone or machine."""
    if not backbone.is_pretrained and recipe.method == "features":
        raise InputError(
            f"recipe {recipe.name} trains the head alone, and backbone {backbone.handle} was never trained: its features "
            "mean nothing. Use --recipe scratch."
        )
    if not backbone.is_pretrained and (recipe.method == "cut" or recipe.unfreeze_from or recipe.batch_norm == "frozen"):
        raise InputError(
            f"recipe {recipe.name} keeps layers of backbone {backbone.handle} as they are, which was never trained. "
            "Use --recipe scratch."
        )
    if recipe.mixed_precision and where.kind != "GPU":
        raise InputError("--mixed-precision is for a GPU, and TensorFlow sees none: drop it")
    require_copyable(backbone, recipe, progress)


def default_name(dataset: str, backbone: str) -> str:
    """Make a run's name from the data set, the backbone and the time."""
    parts = [part for part in backbone.rstrip("/").split("/") if not part.isdigit()]
    meaningful = [part for part in parts if part != "feature_vector"]
    stem = "-".join(
        [dataset.partition(":")[0], (meaningful or ["backbone"])[-1], time.strftime("%Y%m%d-%H%M%S", time.gmtime())]
    )
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")
    return plain[-100:].lstrip("-._")


def _write_history(folder: Path, trained: Trained) -> None:
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(["epoch", *HISTORY_COLUMNS])
    for epoch, row in enumerate(trained.history, start=1):
        table.writerow([epoch, *(f"{row[column]:.6f}" for column in HISTORY_COLUMNS)])
    atomic_write(folder / "history.csv", out.getvalue().encode())
    plot_history(trained.history, trained.best_epoch, folder / "history.png")
