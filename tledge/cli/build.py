"""The command ``tledge build`` trains a classifier."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tledge.cli.recipe_options import given
from tledge.cli.shared_options import (
    DEFAULT_BACKBONE,
    ArtifactsOption,
    BackboneOption,
    DatasetOption,
    ImageSizeOption,
    JsonOption,
    PixelRangeOption,
    ResizeOption,
    SeedOption,
    WeightsOption,
)

if TYPE_CHECKING:
    from tledge.run import Run


def build(
    context: typer.Context,
    dataset: DatasetOption = None,
    backbone: BackboneOption = DEFAULT_BACKBONE,
    weights: WeightsOption = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Train by this recipe: head, finetune, best, scratch, or a .toml file. The options below change its "
            "numbers. Try finetune or best where head leaves accuracy behind.",
            show_default="head; with --augment finetune; scratch for an untrained backbone",
        ),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(
            "--run",
            metavar="NAME",
            help="Give the new run this name. With --resume, finish the run of this name.",
            show_default="data set, backbone and time",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Finish a build that was killed or interrupted, with the options that it was given. Name it with --run "
            "where there are several.",
        ),
    ] = False,
    seed: SeedOption = 0,
    image_size: ImageSizeOption = None,
    tensorboard: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write TensorBoard logs of every epoch to this folder. Use it to watch a long training.",
            show_default="none",
            rich_help_panel="Watching",
        ),
    ] = None,
    mlflow: Annotated[
        bool,
        typer.Option(
            "--mlflow",
            help="Record the build as an MLflow run, to keep it beside other experiments. This needs tledge\\[mlflow].",
            rich_help_panel="Watching",
        ),
    ] = False,
    pixel_range: PixelRangeOption = None,
    resize: ResizeOption = None,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a classifier on labelled photos, and write its run folder."""
    from tledge.cli.console import TerminalProgress
    from tledge.errors import InputError
    from tledge.pixel_range import parse_pixel_range
    from tledge.resizing import checked_resize
    from tledge.training.build import build as build_run
    from tledge.training.build import go_on
    from tledge.training.resolve import default, resolve

    progress = TerminalProgress(quiet=as_json)
    if resume:
        _refuse_others(context)
        _tell(go_on(run, artifacts, progress), as_json)
        return
    if dataset is None:
        raise InputError(
            "name the data with --dataset: digits, a folder of class folders, or a TensorFlow Datasets name"
        )
    numbers = given(context)
    made = build_run(
        dataset,
        backbone=backbone,
        input_size=image_size,
        weights=weights,
        recipe=resolve(recipe or default(backbone, weights, numbers.get("augment")), numbers),
        seed=seed,
        run=run,
        artifacts=artifacts,
        progress=progress,
        tensorboard=tensorboard,
        mlflow=mlflow,
        pixel_range=parse_pixel_range(pixel_range),
        resize=checked_resize(resize),
    )
    _tell(made, as_json)


def _refuse_others(context: typer.Context) -> None:
    """Raise InputError for options beside --resume that say what to build: the interrupted build has its own."""
    from tledge.errors import InputError

    others = [
        parameter.opts[0]
        for parameter in context.command.get_params(context)
        if parameter.name not in ("resume", "run", "artifacts", "as_json")
        and (source := context.get_parameter_source(parameter.name)) is not None
        and source.name == "COMMANDLINE"
    ]
    if others:
        raise InputError(f"--resume goes on with what the build was given: drop {', '.join(others)}")


def _tell(made: Run | None, as_json: bool) -> None:
    from tledge.cli.output import print_json, print_line
    from tledge.doubts import doubts

    if made is None:  # a worker has done its share, and was told so
        if as_json:
            print_json({"run": None, "folder": None, "manifest": None, "warnings": []})
        return
    manifest = made.manifest
    if as_json:
        told = {"manifest": manifest.as_json(), "warnings": doubts(manifest)}
        print_json({"run": made.name, "folder": str(made.folder), **told})
        return
    test, validation = manifest.metrics["test"], manifest.metrics["validation"]
    print_line(
        f"run {made.name}: test accuracy {test.accuracy:.2%} on {test.num_photos} photos "
        f"(macro F1 {test.f1_macro:.4f}), validation {validation.accuracy:.2%}; {manifest.wall_time_s:.1f} s; {made.folder}"
    )
