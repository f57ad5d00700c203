"""These functions are the Python API: each checks its arguments, and runs a stage in a process of its own.

TensorFlow changes the process that imports it: seeds, environment variables, the choice of Keras, the memory of GPUs.
So the process of the caller never imports it for tledge. A script needs no ``__main__`` guard, and a notebook works.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from tledge.arguments import (
    NameOrPath,
    flag,
    instance,
    names,
    number,
    or_none,
    path,
    paths,
    plain_name,
    refused,
    text,
    whole,
)
from tledge.backbones import DEFAULT
from tledge.exporters.options import Options
from tledge.pixel_range import PixelRange, checked_pixel_range
from tledge.progress import Progress
from tledge.progress_by_default import TledgeWarning, progress_by_default
from tledge.records import ExportRecord, Report
from tledge.resizing import Resize, checked_resize
from tledge.run import Run, find_run, open_run
from tledge.stage_process import call_stage
from tledge.training.recipe import Recipe
from tledge.training.resolve import resolve
from tledge.verification import targets
from tledge.verification.measurement import Wanted

__all__ = [
    "Options",
    "Progress",
    "Recipe",
    "Report",
    "Run",
    "TledgeWarning",
    "Wanted",
    "build",
    "export",
    "import_model",
    "verify",
]
_METHODS = ("step", "say", "warn")


def build(
    dataset: NameOrPath,
    *,
    backbone: NameOrPath = DEFAULT,
    input_size: int | None = None,
    weights: NameOrPath | None = None,
    recipe: Recipe | NameOrPath | None = None,
    seed: int = 0,
    run: str | None = None,
    artifacts: NameOrPath | None = None,
    progress: Progress | None = None,
    resume: bool = False,
    tensorboard: NameOrPath | None = None,
    mlflow: bool = False,
    pixel_range: PixelRange | tuple[int, int] | str | None = None,
    resize: Resize | str | None = None,
) -> Run | None:
    """Train a classifier and write its run folder.

    Args:
        dataset: ``digits``, a folder of class folders, or a TensorFlow Datasets name.
        backbone: a TensorFlow Hub handle or folder, ``bundled``, ``keras:NAME``, ``lenet`` or ``alexnet``.
        input_size: height and width of the input in pixels, for a backbone that takes any.
        weights: weights of a ``keras:`` backbone: ``imagenet``, ``none``, or the path of an ``.h5`` file.
        recipe: how to train: a recipe, the name of one, or a ``.toml`` file. None takes ``head`` for a trained backbone, and
            ``scratch`` for an untrained one.
        seed: the same seed gives the same splits and the same model.
        run: name of the run. None makes one from data set, backbone and time. No other process may build it meanwhile.
        artifacts: folder of the runs. None takes ``TLEDGE_ARTIFACTS`` or ``artifacts``.
        progress: is told of steps and warnings. None shows steps in a notebook, and passes warnings to Python's
            ``warnings``.
        resume: go on with an unfinished build of the same name and arguments.
        tensorboard: folder for TensorBoard's logs.
        mlflow: record an MLflow run.
        pixel_range: values of black and white in 16-bit photos, as ``(0, 4095)`` or ``"0..4095"``. None refuses photos
            that leave most of 16 bits unused.
        resize: how a photo becomes a square of the input's size, as ``"crop:256,bicubic"``. None squeezes it bilinearly,
            with antialiasing.

    Returns:
        The run. With the strategy multi-worker every worker calls the function with the same arguments. The chief
        writes the run, and the others return None.

    Raises:
        InputError: the arguments or the data are wrong.
        EnvironmentFault: the machine lacks network, disk, memory or files.
    """
    folder = _called(
        "build",
        progress,
        dataset=text("dataset", dataset),
        backbone=text("backbone", backbone),
        input_size=or_none(whole, "input_size", input_size),
        weights=or_none(text, "weights", weights),
        recipe=_recipe(recipe),
        seed=whole("seed", seed),
        run=or_none(plain_name, "run", run),
        artifacts=or_none(path, "artifacts", artifacts),
        resume=flag("resume", resume),
        tensorboard=or_none(path, "tensorboard", tensorboard),
        mlflow=flag("mlflow", mlflow),
        pixel_range=checked_pixel_range(pixel_range),
        resize=checked_resize(resize),
    )
    return None if folder is None else open_run(Path(folder).parent, Path(folder).name)


def import_model(
    model: NameOrPath,
    dataset: NameOrPath,
    *,
    prepare: str | None = None,
    labels: NameOrPath | None = None,
    trained_on: NameOrPath | None = None,
    seed: int = 0,
    run: str | None = None,
    artifacts: NameOrPath | None = None,
    progress: Progress | None = None,
    pixel_range: PixelRange | tuple[int, int] | str | None = None,
) -> Run:
    """Take in an image classifier that another program trained, and write its run folder.

    Args:
        model: a ``.keras``, ``.h5`` or ``.onnx`` file, or the folder of a SavedModel.
        dataset: a folder of class folders, or a TensorFlow Datasets name, with photos of the model's own classes.
        prepare: how photos become the model's input, as in ``"size=160 resize=squeeze scale=0..255 order=rgb"``. Words that are
            left out are found by trial on labelled photos outside the test split; None leaves all out.
        labels: text file with the classes of the outputs in their order, one a line. None finds the order by trial.
        trained_on: photos on which the model was trained, which are kept out of the test split: a folder, or a CSV file with a
            column ``content_sha256``. None says that nobody knows.
        seed: seed of the splits.
        run: name of the run. None makes one from the model's name and the time.
        artifacts: folder of the runs. None takes ``TLEDGE_ARTIFACTS`` or ``artifacts``.
        progress: is told of steps and warnings. None shows steps in a notebook, and passes warnings to Python's
            ``warnings``.
        pixel_range: values of black and white in 16-bit photos, as for :func:`build`.

    Returns:
        The run.

    Raises:
        InputError: the file is no classifier that can be taken in, the data do not fit it, or its preparation can't be
            decided.
        EnvironmentFault: the machine lacks disk, memory or files.
    """
    folder = _called(
        "import",
        progress,
        model=text("model", model),
        dataset=text("dataset", dataset),
        prepare=or_none(plain_name, "prepare", prepare),
        labels=or_none(text, "labels", labels),
        trained_on=or_none(text, "trained_on", trained_on),
        seed=whole("seed", seed),
        run=or_none(plain_name, "run", run),
        artifacts=or_none(path, "artifacts", artifacts),
        pixel_range=checked_pixel_range(pixel_range),
    )
    return open_run(Path(folder).parent, Path(folder).name)


def export(
    run: Run | str | None,
    format_names: str | Iterable[str],
    *,
    options: Options | None = None,
    batch: Literal["1", "any", 1] = "1",
    jobs: int = 1,
    max_drop_points: float | None = None,
    artifacts: NameOrPath | None = None,
    dataset: NameOrPath | None = None,
    progress: Progress | None = None,
) -> list[ExportRecord]:
    """Convert a run to the named formats, and write each artifact into ``exports/FORMAT/`` after its audit.

    Args:
        run: a run, its name, or None for the latest.
        format_names: one name of a format, or several. ``all`` stands for every format that is not made on request only.
        options: how integer formats are made.
        batch: photos that a file takes at a time, ``"1"`` or ``"any"``.
        jobs: formats that are converted at a time.
        max_drop_points: budget of accuracy on the validation photos, in points. Each int8 format becomes the first file
            that is shown to lose no more. If there is none, it becomes the best file, and the record's ``search`` says so.
            A budget needs ``jobs=1``.
        artifacts: folder of the runs; None takes ``TLEDGE_ARTIFACTS`` or ``artifacts``.
        dataset: data set or folder that holds the run's photos now, which are known by their content; None looks where they
            were.
        progress: is told of steps and warnings. None shows steps in a notebook, and passes warnings to Python's
            ``warnings``.

    Returns:
        One record for each format, in the order of the names.

    Raises:
        InputError: a name or an option is wrong.
        PromiseBroken: a file does not hold what its format promises. The file is not kept.
        EnvironmentFault: the run is damaged, or the machine lacks disk or memory.
    """
    records = _called(
        "export",
        progress,
        run=_run(run, artifacts, dataset),
        format_names=names("format_names", format_names),
        options=None if options is None else instance("options", options, Options),
        batch=_batch(batch),
        jobs=whole("jobs", jobs),
        max_drop_points=or_none(number, "max_drop_points", max_drop_points),
    )
    return [ExportRecord.model_validate(record, strict=True) for record in records]


def verify(
    run: Run | str | None = None,
    *,
    target: NameOrPath = targets.DEFAULT,
    format_names: str | Iterable[str] = (),
    wanted: Wanted | None = None,
    artifacts: NameOrPath | None = None,
    dataset: NameOrPath | None = None,
    files: NameOrPath | Iterable[NameOrPath] = (),
    file_input: str | None = None,
    against: NameOrPath | None = None,
    progress: Progress | None = None,
) -> Report:
    """Run the artifacts of a run against the original, and write the report in four forms.

    ``report.json``, ``report.md``, ``junit.xml`` and ``report.html`` are written together into the run's folder
    ``verification``.

    Args:
        run: a run, its name, or None for the latest. No other process may verify it meanwhile.
        target: name of a target, or path of a ``.toml`` file.
        format_names: one artifact to verify, or several; empty for all of the run.
        wanted: what to measure, and budgets in place of the target's.
        artifacts: folder of the runs; None takes ``TLEDGE_ARTIFACTS`` or ``artifacts``.
        dataset: data set or folder that holds the run's photos now, which are known by their content; None looks where they
            were.
        files: ``.tflite`` and ``.onnx`` files that other tools made, which are judged beside the run's artifacts.
        against: model of another program that ``files`` are judged against on the photos of ``dataset``, in place of a run.
        file_input: how ``files`` take their pixels, as ``"scale=0..1 order=rgb"``. None finds it on labelled photos.
        progress: is told of steps and warnings. None shows steps in a notebook, and passes warnings to Python's
            ``warnings``.

    Returns:
        The report. Its ``verdict`` is ``certified``, ``passed`` or ``failed``; a failed gate raises nothing.

    Raises:
        InputError: a name is wrong, the run has no artifact for the target, or a file is no classifier for the run.
        EnvironmentFault: the run is damaged, or the machine lacks disk or memory.
    """
    target_name = text("target", target)
    targets.load(target_name)  # a wrong target is reported before a run is looked for
    is_of_a_run = against is None
    report = _called(
        "verify",
        progress,
        run=_run(run, artifacts, dataset) if is_of_a_run else run,
        dataset=None if is_of_a_run else or_none(text, "dataset", dataset),
        target=target_name,
        format_names=names("format_names", format_names),
        wanted=None if wanted is None else instance("wanted", wanted, Wanted),
        files=paths("files", files),
        against=or_none(text, "against", against),
        file_input=or_none(plain_name, "file_input", file_input),
    )
    return Report.model_validate(report, strict=True)


def _called(stage: str, progress: Progress | None, **arguments: Any) -> Any:
    if progress is not None and not all(callable(getattr(progress, name, None)) for name in _METHODS):
        raise refused("progress", progress, "an object with the methods step, say and warn")
    return call_stage(stage, arguments, progress_by_default() if progress is None else progress)


def _batch(value: str | int) -> str:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else plain_name("batch", value)


def _recipe(recipe: Recipe | NameOrPath | None) -> Recipe | None:
    if recipe is None or isinstance(recipe, Recipe):
        return recipe
    if not isinstance(recipe, str | os.PathLike):
        raise refused("recipe", recipe, "tledge.Recipe(...), the name of a recipe, or a .toml file")
    return resolve(text("recipe", recipe), {})


def _run(run: Run | str | None, artifacts: NameOrPath | None, dataset: NameOrPath | None) -> Run:
    if run is not None and not isinstance(run, Run | str):
        raise refused("run", run, "a run, or its name")
    return find_run(run, or_none(path, "artifacts", artifacts), or_none(text, "dataset", dataset))
