"""The command ``tledge tune`` searches for a better head."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from tledge.cli.shared_options import (
    DEFAULT_BACKBONE,
    ArtifactsOption,
    BackboneOption,
    ImageSizeOption,
    JsonOption,
    PixelRangeOption,
    RequiredDatasetOption,
    ResizeOption,
    SeedOption,
    WeightsOption,
)


def tune(
    dataset: RequiredDatasetOption,
    backbone: BackboneOption = DEFAULT_BACKBONE,
    weights: WeightsOption = None,
    recipe: Annotated[
        str,
        typer.Option(
            help="Start the search at this recipe: head, or a .toml file of a recipe that trains the head alone."
        ),
    ] = "head",
    trials: Annotated[
        int,
        typer.Option(
            help="Train this many heads in all. Heads that the study has already count. More may find a better one."
        ),
    ] = 50,
    timeout: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="End the search after this time, such as 1h, 5m or 90s. The best head so far is kept.",
            show_default="none",
        ),
    ] = None,
    seed: SeedOption = 0,
    study: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Go on with the search of this name, or give the name to a new one.",
            show_default="data set, backbone and time",
        ),
    ] = None,
    image_size: ImageSizeOption = None,
    pixel_range: PixelRangeOption = None,
    resize: ResizeOption = None,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search for a better head: learning rate, dropout, label smoothing, layers and batch size, on features computed once.

    The validation split judges, and the test split is never scored. Recipes that train more than the head are not
    searched.
    """
    from tledge.cli.console import TerminalProgress
    from tledge.cli.output import print_json, print_line
    from tledge.cli.shared_options import seconds
    from tledge.pixel_range import parse_pixel_range
    from tledge.resizing import checked_resize
    from tledge.training.resolve import resolve
    from tledge.training.tune import tune as search

    tuned = search(
        dataset,
        backbone=backbone,
        input_size=image_size,
        weights=weights,
        recipe=resolve(recipe, {}),
        num_trials=trials,
        timeout_s=seconds("--timeout", timeout),
        seed=seed,
        study=study,
        pixel_range=parse_pixel_range(pixel_range),
        resize=checked_resize(resize),
        artifacts=artifacts,
        progress=TerminalProgress(quiet=as_json),
    )
    options = {
        "--dataset": dataset,
        "--backbone": backbone,
        "--weights": weights,
        "--image-size": image_size,
        "--recipe": tuned.recipe_file,
        "--seed": seed,
        "--pixel-range": pixel_range,
        "--resize": resize,
        "--artifacts": artifacts,
    }
    given = [str(word) for option, value in options.items() if value is not None for word in (option, value)]
    command = shlex.join(["tledge", "build", *given])
    if as_json:
        print_json({**tuned.as_json(), "command": command})
        return
    start = "diverged" if tuned.start_accuracy is None else f"reached {tuned.start_accuracy:.2%}"
    print_line(
        f"study {tuned.study}: trial {tuned.best_trial} of {tuned.num_trials} ({tuned.num_pruned} pruned) is the best: "
        f"validation accuracy {tuned.accuracy:.2%} on {tuned.num_validation} photos; trial 1, the recipe as given, {start}; "
        f"{tuned.folder}"
    )
    print_line(command)
