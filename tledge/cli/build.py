"""``tledge build``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tledge.cli.options import ArtifactsOption, JsonOption, PixelRangeOption

if TYPE_CHECKING:
    from tledge.run import Run

_HEAD, _TRAINING, _PHOTOS, _MACHINE, _WATCHING = "Head", "Training", "Photos", "Machine", "Watching"
_RECIPES = "recipe's"  # what the help shows as the default of a number


def build(
    context: typer.Context,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="digits, a folder of class folders, or a TensorFlow Datasets name, as tf_flowers or mnist:3.0.1."
        ),
    ] = None,
    backbone: Annotated[
        str,
        typer.Option(
            help="A TensorFlow Hub image feature vector by URL or folder, bundled, keras:NAME, alexnet or lenet."
        ),
    ] = "https://tfhub.dev/google/tf2-preview/mobilenet_v2/feature_vector/4",
    weights: Annotated[
        str | None, typer.Option(help="Of a keras: backbone: imagenet, none, or an .h5 file.", show_default="imagenet")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="head, finetune, best, scratch, or a .toml file.",
            show_default="head; with --augment finetune; scratch for an untrained backbone",
        ),
    ] = None,
    run: Annotated[str | None, typer.Option("--run", metavar="NAME", help="Name of the new run.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Finish a build that was killed or interrupted, with what it was given.")
    ] = False,
    seed: Annotated[int, typer.Option(help="The same seed gives the same splits and the same model.")] = 0,
    image_size: Annotated[int | None, typer.Option(help="Input size in pixels, for a backbone that takes any.")] = None,
    head: Annotated[
        str | None,
        typer.Option(help="linear, or hidden layers as in mlp:256.", show_default=_RECIPES, rich_help_panel=_HEAD),
    ] = None,
    dropout: Annotated[
        float | None,
        typer.Option(help="Share of features dropped.", show_default=_RECIPES, rich_help_panel=_HEAD),
    ] = None,
    max_epochs: Annotated[
        int | None, typer.Option(help="Epochs at most.", show_default=_RECIPES, rich_help_panel=_TRAINING)
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            help="Epochs without improvement before it stops.", show_default=_RECIPES, rich_help_panel=_TRAINING
        ),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Photos a step.", show_default=_RECIPES, rich_help_panel=_TRAINING)
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="The highest one.", show_default=_RECIPES, rich_help_panel=_TRAINING)
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(help="constant, plateau or cosine.", show_default=_RECIPES, rich_help_panel=_TRAINING),
    ] = None,
    warmup_epochs: Annotated[
        float | None,
        typer.Option(help="Over which the learning rate rises.", show_default=_RECIPES, rich_help_panel=_TRAINING),
    ] = None,
    weight_decay: Annotated[
        float | None, typer.Option(help="AdamW's.", show_default=_RECIPES, rich_help_panel=_TRAINING)
    ] = None,
    label_smoothing: Annotated[
        float | None,
        typer.Option(help="Label smoothing.", show_default=_RECIPES, rich_help_panel=_TRAINING),
    ] = None,
    average_decay: Annotated[
        float | None,
        typer.Option(help="Of the weights' moving average; 0: none.", show_default=_RECIPES, rich_help_panel=_TRAINING),
    ] = None,
    batch_norm: Annotated[
        str | None,
        typer.Option(help="frozen, or trained and estimated again.", show_default=_RECIPES, rich_help_panel=_TRAINING),
    ] = None,
    class_weights: Annotated[
        bool | None,
        typer.Option(
            help="Every class counts the same, however few its photos.",
            show_default=_RECIPES,
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    unfreeze_from: Annotated[
        str | None,
        typer.Option(
            metavar="LAYER",
            help="Train this layer or block and those after it.",
            show_default=_RECIPES,
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    time_budget: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="As 5m or 90s: chooses the cut and the epochs.",
            show_default="none",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(
            help="none, light, strong or randaugment; with numbers of its own as in light,rotation_degrees=20.",
            show_default=_RECIPES,
            rich_help_panel=_PHOTOS,
        ),
    ] = None,
    flip: Annotated[
        bool | None,
        typer.Option(help="Mirror photos left to right.", show_default="augmentation's", rich_help_panel=_PHOTOS),
    ] = None,
    views: Annotated[
        int | None,
        typer.Option(
            help="Augmented views of each photo, computed once.", show_default=_RECIPES, rich_help_panel=_PHOTOS
        ),
    ] = None,
    mixup_alpha: Annotated[
        float | None, typer.Option(help="MixUp's; 0: off.", show_default=_RECIPES, rich_help_panel=_PHOTOS)
    ] = None,
    cutmix_alpha: Annotated[
        float | None, typer.Option(help="CutMix's; 0: off.", show_default=_RECIPES, rich_help_panel=_PHOTOS)
    ] = None,
    mixed_precision: Annotated[
        bool | None,
        typer.Option(
            "--mixed-precision", help="float16 arithmetic on a GPU.", show_default="off", rich_help_panel=_MACHINE
        ),
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            help="none; mirrored: all GPUs of this machine; multi-worker: the machines that TF_CONFIG names.",
            show_default="none",
            rich_help_panel=_MACHINE,
        ),
    ] = None,
    tensorboard: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Write TensorBoard logs there.", show_default="none", rich_help_panel=_WATCHING
        ),
    ] = None,
    mlflow: Annotated[
        bool,
        typer.Option("--mlflow", help="Record an MLflow run (needs tledge\\[mlflow]).", rich_help_panel=_WATCHING),
    ] = False,
    pixel_range: PixelRangeOption = None,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a classifier on labelled photos, and write its run folder."""
    from tledge.cli.console import TerminalProgress
    from tledge.cli.options import seconds
    from tledge.errors import InputError
    from tledge.pixel_range import parse
    from tledge.training.build import build as build_run
    from tledge.training.build import go_on
    from tledge.training.recipe import default, resolve

    progress = TerminalProgress(quiet=as_json)
    if resume:
        _refuse_others(context)
        _tell(go_on(run, artifacts, progress), as_json)
        return
    if dataset is None:
        raise InputError(
            "name the data with --dataset: digits, a folder of class folders, or a TensorFlow Datasets name"
        )
    options = {
        "head": head,
        "dropout": dropout,
        "max_epochs": max_epochs,
        "patience": patience,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "schedule": schedule,
        "warmup_epochs": warmup_epochs,
        "weight_decay": weight_decay,
        "label_smoothing": label_smoothing,
        "average_decay": average_decay,
        "batch_norm": batch_norm,
        "class_weights": class_weights,
        "unfreeze_from": unfreeze_from,
        "time_budget_s": seconds("--time-budget", time_budget),
        "augment": augment,
        "horizontal_flip": flip,
        "views": views,
        "mixup_alpha": mixup_alpha,
        "cutmix_alpha": cutmix_alpha,
        "mixed_precision": mixed_precision,
        "strategy": strategy,
    }
    made = build_run(
        dataset,
        backbone=backbone,
        input_size=image_size,
        weights=weights,
        recipe=resolve(recipe or default(backbone, weights, augment), options),
        seed=seed,
        run=run,
        artifacts=artifacts,
        progress=progress,
        tensorboard=tensorboard,
        mlflow=mlflow,
        pixel_range=parse(pixel_range),
    )
    _tell(made, as_json)


def _refuse_others(context: typer.Context) -> None:
    """Raise InputError for options beside --resume that say what to build: that was said before."""
    from tledge.errors import InputError

    given = [
        f"--{name.replace('_', '-')}"
        for name in context.params
        if name not in ("resume", "run", "artifacts", "as_json")
        and (source := context.get_parameter_source(name)) is not None
        and source.name == "COMMANDLINE"
    ]
    if given:
        raise InputError(f"--resume goes on with what the build was given: drop {', '.join(given)}")


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
