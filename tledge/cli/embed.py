"""The command ``tledge embed`` writes features of photos."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tledge.cli.shared_options import ArtifactsOption, JsonOption, OtherPixelRangeOption, RunOption


def embed(
    dataset: Annotated[
        str,
        typer.Option(
            help="Compute features of these photos: digits, a folder of class folders, or a TensorFlow Datasets name."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="Write the features to this new file, whose suffix sets the format: .parquet, .npy (with a .json beside "
            "it) or .npz.",
        ),
    ],
    run: RunOption = None,
    layer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Write the output of this layer of the network, such as block_12_add. An output of several axes is "
            "flattened in C order.",
            show_default="the head's input",
        ),
    ] = None,
    split: Annotated[
        str,
        typer.Option(
            help="Take all photos, or one split of a data set that has splits of its own: train, validation or test."
        ),
    ] = "all",
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Read the weights of a keras: backbone from this file. Give it where build took them from a file.",
            show_default="none",
        ),
    ] = None,
    pixel_range: OtherPixelRangeOption = None,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the features that a run's network computes of photos, one vector each, for clustering and search."""
    from tledge.cli.console import TerminalProgress
    from tledge.cli.output import print_json, print_line
    from tledge.inference.embed import embed as embed_photos
    from tledge.pixel_range import parse_pixel_range

    progress = TerminalProgress(quiet=as_json)
    made = embed_photos(
        run,
        dataset,
        out,
        layer=layer,
        split=split,
        weights=weights,
        pixel_range=parse_pixel_range(pixel_range),
        artifacts=artifacts,
        progress=progress,
    )
    if as_json:
        print_json({"file": str(out), "dim": made.dim, **made.as_json()})
        return
    shape = " x ".join(map(str, made.shape))
    print_line(
        f"run {made.run}, layer {made.layer}: {made.num_photos} photos of {made.dataset}, "
        f"{made.dim} numbers each ({shape}); {out}"
    )
