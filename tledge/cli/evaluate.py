"""The command ``tledge evaluate`` scores a model on other labelled photos."""

from __future__ import annotations

from typing import Annotated

import typer

from tledge.cli.shared_options import ArtifactsOption, JsonOption, OtherPixelRangeOption, RunOption


def evaluate(
    dataset: Annotated[
        str,
        typer.Option(
            help="Score on these labelled photos: digits, a folder of class folders, or a TensorFlow Datasets name. Where "
            "its classes have other names than the run's, give --map too."
        ),
    ],
    run: RunOption = None,
    artifact: Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT",
            help="Score the artifact of this format, to see what a device will answer.",
            show_default="the original",
        ),
    ] = None,
    split: Annotated[
        str,
        typer.Option(
            help="Score all photos, or one split of a data set that has splits of its own: train, validation or test."
        ),
    ] = "all",
    class_map: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="CLASS=CLASS",
            help="Take a class of the data set for a class of the run that has another name, as in rose=roses. Repeat the "
            "option for several.",
        ),
    ] = None,
    include_seen: Annotated[
        bool,
        typer.Option(
            "--include-seen",
            help="Score also photos that the run has learned from, and their near copies. The accuracy then says little "
            "of new photos.",
        ),
    ] = False,
    pixel_range: OtherPixelRangeOption = None,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score a run or one of its artifacts on other labelled photos. The score sets no exit code."""
    from tledge.cli.console import TerminalProgress
    from tledge.cli.output import print_json, print_line, print_table
    from tledge.inference.evaluate import evaluate as evaluate_model
    from tledge.inference.evaluate import parse_class_map
    from tledge.inference.run_model import open_model
    from tledge.pixel_range import parse_pixel_range

    given = parse_class_map(class_map or ())
    model = open_model(run, format_name=artifact, pixel_range=parse_pixel_range(pixel_range), artifacts=artifacts)
    progress = TerminalProgress(quiet=as_json)
    scored = evaluate_model(
        model,
        dataset,
        split=split,
        include_seen=include_seen,
        class_map=given,
        progress=progress,
    )
    if as_json:
        print_json(scored.as_json())
        return
    metrics, interval = scored.metrics, scored.accuracy_interval
    rows = []
    for one in scored.per_class:
        recall = "" if one.recall is None else f"{one.recall:.2%}"
        rows.append([one.label, str(one.num_photos), recall])
    print_table(("class", "photos", "recall"), rows, right=("photos", "recall"))
    print_line(
        f"run {scored.run}, {model.runnable.name}, on {scored.dataset}: accuracy {metrics.accuracy:.2%} "
        f"({interval.low:.2%} to {interval.high:.2%}) on {metrics.num_photos} photos; macro precision "
        f"{metrics.precision_macro:.4f}, recall {metrics.recall_macro:.4f}, F1 {metrics.f1_macro:.4f}"
    )
