"""These options are shared by several commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_BACKBONE = (
    "https://tfhub.dev/google/tf2-preview/mobilenet_v2/feature_vector/4"  # This is tledge.backbones.DEFAULT, unloaded.
)
_DATASET_HELP = (
    "Train on these labelled photos: digits, a folder of class folders, or a TensorFlow Datasets name, such as tf_flowers "
    "or mnist:3.0.1."
)
DatasetOption = Annotated[str | None, typer.Option(help=_DATASET_HELP)]
RequiredDatasetOption = Annotated[str, typer.Option(help=_DATASET_HELP)]
BackboneOption = Annotated[
    str,
    typer.Option(
        help="Put the classifier on this network: a TensorFlow Hub image feature vector by URL or folder, bundled, "
        "keras:NAME, alexnet or lenet. Use bundled where there is no internet connection."
    ),
]
WeightsOption = Annotated[
    str | None,
    typer.Option(
        help="Start a keras: backbone from these weights: imagenet, an .h5 file, or none for a training from scratch.",
        show_default="imagenet",
    ),
]
SeedOption = Annotated[
    int,
    typer.Option(
        help="Draw all random numbers from this seed. The same seed gives the same splits and the same model."
    ),
]
ImageSizeOption = Annotated[
    int | None,
    typer.Option(
        help="Give the model a square input of this side in pixels, where the backbone takes any size. A smaller input "
        "is faster, and usually less accurate.",
        show_default="the backbone's",
    ),
]
RunOption = Annotated[
    str | None,
    typer.Option(
        "--run", metavar="NAME", help="Use the run of this name (see: tledge runs).", show_default="the latest"
    ),
]
MovedDatasetOption = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        metavar="DATASET",
        help="Look for the run's photos in this folder or data set, by their content. Use it where they were moved, or on "
        "another machine.",
        show_default="where they were",
    ),
]
ArtifactsOption = Annotated[
    Path | None,
    typer.Option(
        "--artifacts",
        metavar="DIR",
        envvar="TLEDGE_ARTIFACTS",
        help="Keep the runs in this folder, and look for them there.",
        show_default="artifacts",
    ),
]
_RANGE_HELP = (
    "Take these values of 16-bit photos as black and white, such as 0..4095. Use it where a camera fills fewer than "
    "16 bits."
)
PixelRangeOption = Annotated[
    str | None,
    typer.Option("--pixel-range", metavar="LOW..HIGH", help=_RANGE_HELP, show_default="0..65535, if it is used"),
]
OtherPixelRangeOption = Annotated[
    str | None, typer.Option("--pixel-range", metavar="LOW..HIGH", help=_RANGE_HELP, show_default="the run's")
]
ResizeOption = Annotated[
    str | None,
    typer.Option(
        "--resize",
        metavar="FIT",
        help="Make photos squares of the input's size by this: squeeze; crop:N, which resizes the shorter side to N pixels "
        "and crops the centre; or pad. An interpolation may follow (nearest, bilinear, bicubic, lanczos), and no-antialias, "
        "as in crop:256,bicubic. Use it where an app prepares photos in its own way.",
        show_default="squeeze, which is bilinear and antialiased",
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object instead of text and bars, for other programs to read.")
]


def whole_numbers(option: str, text: str) -> tuple[int, ...]:
    """Parse whole numbers as in ``1,2,4``; an empty text has none. Anything else raises InputError."""
    from tledge.errors import InputError

    try:
        return tuple(int(part) for part in text.split(",")) if text.strip() else ()
    except ValueError as error:
        raise InputError(f"{option} {text!r}: use whole numbers with commas between, like 1,2,4") from error


def seconds(option: str, text: str | None) -> float | None:
    """Parse a time such as ``90``, ``90s``, ``5m`` or ``1h`` into seconds.

    Raises InputError for anything else, and for a time that is not above 0.
    """
    import re

    from tledge.errors import InputError

    if text is None:
        return None
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smh]?)", text.strip())
    if not found or not float(found[1]):
        raise InputError(f"{option} {text!r}: use a time above 0 like 90s, 5m or 1h")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]
