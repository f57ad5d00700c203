"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_BACKBONE = (
    "https://tfhub.dev/google/tf2-preview/mobilenet_v2/feature_vector/4"  # tledge.backbones.DEFAULT, unloaded
)
_DATASET_HELP = (
    "Labelled photos: digits, a folder of class folders, or a TensorFlow Datasets name, as tf_flowers or mnist:3.0.1."
)
DatasetOption = Annotated[str | None, typer.Option(help=_DATASET_HELP)]
RequiredDatasetOption = Annotated[str, typer.Option(help=_DATASET_HELP)]
BackboneOption = Annotated[
    str,
    typer.Option(
        help="What the classifier stands on: a TensorFlow Hub image feature vector by URL or folder, bundled, keras:NAME, "
        "alexnet or lenet."
    ),
]
WeightsOption = Annotated[
    str | None,
    typer.Option(
        help="Weights of a keras: backbone: imagenet, none for a training from scratch, or an .h5 file.",
        show_default="imagenet",
    ),
]
SeedOption = Annotated[
    int, typer.Option(help="Seed of everything that is drawn: the same one gives the same splits and the same model.")
]
ImageSizeOption = Annotated[
    int | None,
    typer.Option(
        help="Side of the model's input in pixels, for a backbone that takes any.", show_default="the backbone's"
    ),
]
RunOption = Annotated[str | None, typer.Option("--run", metavar="NAME", help="The run; default: the latest.")]
ArtifactsOption = Annotated[
    Path | None,
    typer.Option(
        "--artifacts", metavar="DIR", envvar="TLEDGE_ARTIFACTS", help="Folder of the runs.", show_default="artifacts"
    ),
]
_RANGE_HELP = "Black and white of 16-bit photos as in 0..4095."
PixelRangeOption = Annotated[
    str | None,
    typer.Option("--pixel-range", metavar="LOW..HIGH", help=_RANGE_HELP, show_default="0..65535, if it is used"),
]
OtherPixelRangeOption = Annotated[
    str | None, typer.Option("--pixel-range", metavar="LOW..HIGH", help=_RANGE_HELP, show_default="the run's")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text and bars.")]


def whole_numbers(option: str, text: str) -> tuple[int, ...]:
    """``1,2,4`` as numbers; empty for none. Raises InputError for anything else."""
    from tledge.errors import InputError

    try:
        return tuple(int(part) for part in text.split(",")) if text.strip() else ()
    except ValueError as error:
        raise InputError(f"{option} {text!r}: use whole numbers with commas between, like 1,2,4") from error


def seconds(option: str, text: str | None) -> float | None:
    """``90``, ``90s``, ``5m`` or ``1h`` in seconds. Raises InputError for anything else, and for what is not above 0."""
    import re

    from tledge.errors import InputError

    if text is None:
        return None
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smh]?)", text.strip())
    if not found or not float(found[1]):
        raise InputError(f"{option} {text!r}: use a time above 0 like 90s, 5m or 1h")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]
