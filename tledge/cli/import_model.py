"""The command ``tledge import`` takes in a classifier that another program trained."""

from __future__ import annotations

from typing import Annotated

import typer

from tledge.cli.shared_options import ArtifactsOption, JsonOption, PixelRangeOption, SeedOption


def import_model(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="Import this model: .keras, .h5, .onnx, or the folder of a Keras SavedModel."
        ),
    ],
    dataset: Annotated[
        str,
        typer.Option(
            help="Judge the model on these labelled photos: a folder of class folders, or a TensorFlow Datasets name. They "
            "are the photos of its own classes."
        ),
    ],
    prepare: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help='Prepare photos like this, as in "size=160 resize=crop:182 scale=0..255 order=rgb". Words that are left out '
            "are found by trial. Use it where you know how the model was trained.",
            show_default="found by trial",
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Take the classes of the outputs from this text file, one a line. Use it where the order is not the "
            "alphabet's or the data set's.",
            show_default="found by trial",
        ),
    ] = None,
    trained_on: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|CSV",
            help="Keep these photos, on which the model was trained, out of the test split: a folder, or a table with a column "
            "content_sha256. Use it wherever you have them.",
            show_default="unknown",
        ),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(
            "--run", metavar="NAME", help="Give the new run this name.", show_default="the model's and the time"
        ),
    ] = None,
    seed: SeedOption = 0,
    pixel_range: PixelRangeOption = None,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take in an image classifier that another program trained, and write its run folder."""
    from tledge.cli.console import TerminalProgress
    from tledge.cli.output import print_json, print_line
    from tledge.doubts import doubts
    from tledge.importing.stage import import_model as import_it
    from tledge.pixel_range import parse_pixel_range

    made = import_it(
        model,
        dataset,
        prepare=prepare,
        labels=labels,
        trained_on=trained_on,
        seed=seed,
        run=run,
        artifacts=artifacts,
        pixel_range=parse_pixel_range(pixel_range),
        progress=TerminalProgress(quiet=as_json),
    )
    manifest = made.manifest
    if as_json:
        told = {"manifest": manifest.as_json(), "warnings": doubts(manifest)}
        print_json({"run": made.name, "folder": str(made.folder), **told})
        return
    test, imported = manifest.metrics["test"], manifest.imported
    assert imported is not None
    print_line(
        f"run {made.name}: test accuracy {test.accuracy:.2%} on {test.num_photos} photos (macro F1 {test.f1_macro:.4f}), as "
        f"{imported.framework} computed it; {manifest.wall_time_s:.1f} s; {made.folder}"
    )
