"""``tledge evaluate``."""

from __future__ import annotations

from typing import Annotated

import typer

from tledge.cli.shared_options import ArtifactsOption, JsonOption, OtherPixelRangeOption, RunOption


def evaluate(
    dataset: Annotated[
        str, typer.Option(help="Labelled photos: whatever build takes, with classes of the same names as the run's.")
    ],
    run: RunOption = None,
    artifact: Annotated[
        str | None,
        typer.Option(metavar="FORMAT", help="The artifact to score.", show_default="the original"),
    ] = None,
    split: Annotated[
        str, typer.Option(help="all, or of a data set with splits of its own: train, validation or test.")
    ] = "all",
    include_seen: Annotated[
        bool, typer.Option("--include-seen", help="Score photos too that the run was trained on.")
    ] = False,
    pixel_range: OtherPixelRangeOption = None,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score a run or one of its artifacts on other labelled photos; the score sets no exit code."""
    from tledge.cli.console import TerminalProgress
    from tledge.cli.output import print_json, print_line, print_table
    from tledge.inference.evaluate import evaluate as evaluate_model
    from tledge.inference.run_model import open_model
    from tledge.pixel_range import parse_pixel_range

    model = open_model(run, format_name=artifact, pixel_range=parse_pixel_range(pixel_range), artifacts=artifacts)
    progress = TerminalProgress(quiet=as_json)
    scored = evaluate_model(model, dataset, split=split, include_seen=include_seen, progress=progress)
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
