"""The command ``tledge predict`` names the classes of photos."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated

import typer

from tledge.cli.shared_options import ArtifactsOption, JsonOption, OtherPixelRangeOption, RunOption

if TYPE_CHECKING:
    from tledge.inference.predict import Prediction


def predict(
    photos: Annotated[
        list[str],
        typer.Argument(
            metavar="PHOTO...", help="Answer these files, folders of photos, or - for one photo on standard input."
        ),
    ],
    run: RunOption = None,
    artifact: Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT",
            help="Let the artifact of this format answer, to see what a device will answer.",
            show_default="the original",
        ),
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(
            help="Run the artifact by this runtime, where several can run its file.",
            show_default="the runtime of its file",
        ),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(
            help="Name this many classes of each photo, the most probable first.", show_default="3, or all of fewer"
        ),
    ] = None,
    pixel_range: OtherPixelRangeOption = None,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Name the most probable classes of photos, as a run or one of its artifacts answers."""
    from tledge.cli.console import TerminalProgress
    from tledge.errors import InputError
    from tledge.inference.predict import Prediction
    from tledge.inference.run_model import open_model
    from tledge.pixel_range import parse_pixel_range
    from tledge.printable import counted

    model = open_model(
        run, format_name=artifact, runtime=runtime, pixel_range=parse_pixel_range(pixel_range), artifacts=artifacts
    )
    prediction = Prediction(model, photos, top=top, progress=TerminalProgress(quiet=as_json))
    (_print_object if as_json else _print_lines)(prediction)
    num_unreadable, num_photos = len(prediction.unreadable), len(prediction.photos)
    if num_unreadable:
        rest = ". The others were answered." if num_unreadable < num_photos else ""
        raise InputError(f"{num_unreadable} of {counted(num_photos, 'photo')} can't be read{rest}")


def _print_lines(prediction: Prediction) -> None:
    """Print one line for each photo as it is answered. Columns are as wide as the longest name that may come."""
    from rich.cells import cell_len

    from tledge.cli.output import print_line
    from tledge.printable import one_line

    def padded(words: str, width: int) -> str:
        return words + " " * (width - cell_len(words))

    photo_width = max(cell_len(one_line(path)) for path in prediction.photos)
    label_width = max(cell_len(one_line(label)) for label in prediction.model.labels)
    with contextlib.closing(prediction.answers()) as answered:
        for photo in answered:
            cells = [f"{padded(one_line(one.label), label_width)} {one.probability:7.2%}" for one in photo.answers]
            print_line("  ".join([padded(one_line(photo.path), photo_width), *cells]))


def _print_object(prediction: Prediction) -> None:
    from dataclasses import asdict

    from tledge.cli.output import print_json_of_many

    model = prediction.model
    with contextlib.closing(prediction.answers()) as answered:
        print_json_of_many(
            {"run": model.run.name, "artifact": model.name, "runtime": model.runnable.runtime},
            "photos",
            map(asdict, answered),
            lambda: {"unreadable": [asdict(photo) for photo in prediction.unreadable], "skipped": prediction.skipped},
        )
