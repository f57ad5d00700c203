"""``tledge export``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tledge.cli.shared_options import ArtifactsOption, JsonOption, RunOption

if TYPE_CHECKING:
    from tledge.records import AccuracySearch, ExportRecord


def export(
    formats: Annotated[
        list[str],
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="tflite-float32, tflite-int8, tflite-int8-qat, ...; all: every one but those that train and "
            "those that are slow on CPUs. May be repeated.",
        ),
    ],
    run: RunOption = None,
    calibration_samples: Annotated[
        int | None,
        typer.Option(help="Training photos that set the ranges of int8 formats, even by class.", show_default="200"),
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(
            metavar="METHOD",
            help="How these photos set the ranges: mse, of the least squared error of 8 bits, or min-max, of all values.",
            show_default="mse",
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            help="Of the formats that train: -qat, -pruned, -clustered.",
            show_default="2 for -qat, 4 where clustered, 5 for -pruned",
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="At the start of that training.", show_default="1e-5 for -qat, 5e-5 where clustered, 1e-4 for -pruned"
        ),
    ] = None,
    sparsity: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Weights of -pruned that become zero.", show_default="0.5")
    ] = None,
    clusters: Annotated[
        int | None, typer.Option(help="Codes that the weights of a layer of -clustered have.", show_default="32")
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            metavar="POINTS",
            help="Of an int8 format: find a file whose accuracy is shown to drop no further, with layers in float or "
            "trained where it must be.",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="Make int8 weights for the CPU of a target: its name (see: tledge targets) or a .toml file. A target that says "
            "int8_saturates = false gets ONNX weights of all 8 bits.",
            show_default="any CPU",
        ),
    ] = None,
    batch: Annotated[
        str, typer.Option(metavar="1|any", help="Photos that a file takes at a time; any is for ONNX.")
    ] = "1",
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Formats that are converted at a time, each in a process of its own.",
            show_default="one a core, as far as memory has room",
        ),
    ] = None,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Convert a run to formats for devices, each audited before it is kept."""
    from tledge.accuracy_aware.search import missed
    from tledge.api import export as export_run
    from tledge.cli.console import TerminalProgress
    from tledge.cli.output import print_json
    from tledge.exporters.options import Options
    from tledge.machine import usable_cores
    from tledge.verification import targets

    given: dict[str, Any] = {
        "calibration_samples": calibration_samples,
        "calibration": calibration,
        "epochs": epochs,
        "learning_rate": learning_rate,
        "sparsity": sparsity,
        "clusters": clusters,
        "int8_saturates": None if target is None else targets.load(target).int8_saturates,
    }
    options = Options(**{name: value for name, value in given.items() if value is not None})
    progress = TerminalProgress(quiet=as_json)
    if jobs is None:
        jobs = 1 if max_drop is not None else usable_cores()
    records = export_run(
        run,
        formats,
        options=options,
        batch=batch,
        jobs=jobs,
        max_drop_points=max_drop,
        artifacts=artifacts,
        progress=progress,
    )
    if as_json:
        print_json({"exports": [record.as_json() for record in records]})
    else:
        _print(records)
    for problem in filter(None, map(missed, records)):
        progress.warn(problem)
    if any(map(missed, records)):
        raise typer.Exit(1)


def _print(records: list[ExportRecord]) -> None:
    from tledge.cli.output import print_line

    for record in records:
        if record.search:
            _print_search(record.search)
        kinds: dict[str, int] = {}
        for operator in record.audit.operators:
            kinds[operator.kind] = kinds.get(operator.kind, 0) + operator.count
        counted = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items(), key=lambda item: -item[1]))
        sizes = f"{record.size_bytes / 1e6:.3f} MB, compressed {record.compressed_bytes / 1e6:.3f}"
        print_line(
            f"{record.format}: {sizes}; operators: {counted}; converted in {record.convert_s:.1f} s{_learned(record)}"
        )


def _learned(record: ExportRecord) -> str:
    """What its training came to, of a format that trains."""
    learned = record.options
    if "validation_losses" not in learned:
        return ""
    start, kept = learned["validation_losses"][0], learned["validation_losses"][learned["kept_epoch"]]
    return (
        f"; on the validation photos {learned['validation_agreement']:.2%} agreement with the float network, divergence "
        f"{start:.3g} nats before training and {kept:.3g} after"
    )


def _print_search(search: AccuracySearch) -> None:
    """A row for each file that was tried."""
    from tledge.cli.output import print_line, print_table

    columns = ("tried", "float operators", "accuracy %", "drop, points (95%)", "MB", "p50 ms", "within the budget")
    rows = []
    for step in search.steps:
        interval = step.accuracy_drop_points_interval
        if step.error or interval is None or step.accuracy is None:
            figures = ["", f"does not run: {step.error}"]
        else:
            drop = f"{step.accuracy_drop_points:+z.2f} ({interval.low:+z.2f} to {interval.high:+z.2f})"
            figures = [f"{100 * step.accuracy:.2f}", drop]
        latency = "" if step.p50_ms is None else f"{step.p50_ms:.2f}"
        kept = "yes" if step.is_within_budget else "not shown"
        rows.append([step.format, str(step.float_operators), *figures, f"{step.size_bytes / 1e6:.3f}", latency, kept])
    print_line(
        f"{search.num_photos} validation photos, {search.original_accuracy:.2%} of which the original answers rightly; "
        f"budget: a drop of at most {search.max_drop_points:g} points"
    )
    print_table(columns, rows)
