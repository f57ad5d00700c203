"""``tledge build``."""

from __future__ import annotations

from typing import Annotated

import typer

from tledge.cli.options import ArtifactsOption, JsonOption


def build(
    dataset: Annotated[
        str,
        typer.Option(
            help="digits, a folder of class folders, or a TensorFlow Datasets name, as tf_flowers or mnist:3.0.1."
        ),
    ],
    backbone: Annotated[
        str, typer.Option(help="A TensorFlow Hub image feature vector by URL or folder, or: bundled.")
    ] = "https://tfhub.dev/google/tf2-preview/mobilenet_v2/feature_vector/4",
    run: Annotated[str | None, typer.Option("--run", metavar="NAME", help="Name of the new run.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same splits and the same model.")] = 0,
    image_size: Annotated[int | None, typer.Option(help="Input size in pixels, for a backbone that takes any.")] = None,
    max_epochs: Annotated[int | None, typer.Option(help="Epochs at most.", show_default="100")] = None,
    patience: Annotated[
        int | None, typer.Option(help="Epochs without improvement before it stops.", show_default="8")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Photos a step.", show_default="64")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Adam's learning rate.", show_default="0.001")] = None,
    dropout: Annotated[float | None, typer.Option(help="Share of features dropped.", show_default="0.5")] = None,
    label_smoothing: Annotated[float | None, typer.Option(help="Label smoothing.", show_default="0.1")] = None,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a classifier on labelled photos, and write its run folder."""
    from tledge.cli.console import TerminalProgress, print_json
    from tledge.training.build import build as build_run
    from tledge.training.recipe import resolve

    recipe = resolve(
        {
            "max_epochs": max_epochs,
            "patience": patience,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "dropout": dropout,
            "label_smoothing": label_smoothing,
        }
    )
    made = build_run(
        dataset,
        backbone=backbone,
        input_size=image_size,
        recipe=recipe,
        seed=seed,
        run=run,
        artifacts=artifacts,
        progress=TerminalProgress(quiet=as_json),
    )
    if as_json:
        print_json({"run": made.name, "folder": str(made.folder), "manifest": made.manifest.as_json()})
        return
    manifest = made.manifest
    test, validation = manifest.metrics["test"], manifest.metrics["validation"]
    print(
        f"run {made.name}: test accuracy {test.accuracy:.2%} on {test.num_photos} photos "
        f"(macro F1 {test.f1_macro:.4f}), validation {validation.accuracy:.2%}; {manifest.wall_time_s:.1f} s; {made.folder}"
    )
