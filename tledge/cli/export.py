"""The command ``tledge export`` converts a run to artifacts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from tledge.cli.shared_options import ArtifactsOption, JsonOption, MovedDatasetOption, RunOption

if TYPE_CHECKING:
    from tledge.records import AccuracySearch, ExportRecord


class FormatsCommand(TyperCommand):
    """This command lists the formats at the end of its help. They are imported only there, as that takes a while."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        from tledge.exporters import formats

        lines = [f"{name}: {form.purpose} {form.cost}" for name, form in formats().items()]
        self.epilog = "\n\n".join(["Formats:", *lines])
        super().format_help(ctx, formatter)


def export(
    formats: Annotated[
        list[str],
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="Make an artifact of this format; all formats are listed below. Repeat the option for several. The word all "
            "stands for every format but those that train and those that are slow on CPUs.",
        ),
    ],
    run: RunOption = None,
    calibration_samples: Annotated[
        int | None,
        typer.Option(
            help="Use this many training photos, even by class, as the representative data set of int8 formats. Use more "
            "where an int8 artifact loses accuracy.",
            show_default="200",
        ),
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(
            metavar="METHOD",
            help="Choose the ranges of activations by this method: mse has the least squared error of 8 bits, and "
            "min-max covers all values that were seen.",
            show_default="mse",
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            help="Train for this many epochs in the formats that train (-qat, -pruned, -clustered). Use more where the "
            "validation loss still fell at the end.",
            show_default="2 for -qat, 4 where clustered, 5 for -pruned",
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="Start the training of a format that trains at this learning rate. Lower it where the loss diverges.",
            show_default="1e-5 for -qat, 5e-5 where clustered, 1e-4 for -pruned",
        ),
    ] = None,
    sparsity: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Set this share of the weights of -pruned formats to zero. More zeros compress better, and may cost accuracy.",
            show_default="0.5",
        ),
    ] = None,
    clusters: Annotated[
        int | None,
        typer.Option(
            help="Give the weights of a layer of -clustered formats this many different values. Fewer values compress "
            "better, and may cost accuracy.",
            show_default="32",
        ),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            metavar="POINTS",
            help="Search for an artifact of an int8 format that is shown on the validation photos to lose at most so many "
            "points of accuracy. Layers stay in float, or the network is trained, where all-integer loses more.",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="Make int8 weights for the CPU of this target, a name (see: tledge targets) or a .toml file. Use it where "
            "the CPU is known: with int8_saturates = false, ONNX weights use all 8 bits.",
            show_default="any CPU",
        ),
    ] = None,
    batch: Annotated[
        str,
        typer.Option(
            metavar="1|any",
            help="Make artifacts that take one photo at a time, or any number. Use any for an ONNX artifact on a server.",
        ),
    ] = "1",
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Convert this many formats at a time, each in a process of its own. Use fewer where memory runs out.",
            show_default="one a core, as far as memory has room",
        ),
    ] = None,
    dataset: MovedDatasetOption = None,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Convert a run to formats for devices, each audited before it is kept."""
    from tledge.accuracy_aware.search import missed
    from tledge.cli.console import TerminalProgress
    from tledge.cli.output import print_json
    from tledge.exporters.options import Options
    from tledge.machine import usable_cores
    from tledge.stages import export as export_run
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
        dataset=dataset,
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
    """Say what the training of a format that trains came to. The text is empty for other formats."""
    learned = record.options
    if "validation_losses" not in learned:
        return ""
    start, kept = learned["validation_losses"][0], learned["validation_losses"][learned["kept_epoch"]]
    return (
        f"; on the validation photos {learned['validation_agreement']:.2%} agreement with the float network, divergence "
        f"{start:.3g} nats before training and {kept:.3g} after"
    )


def _print_search(search: AccuracySearch) -> None:
    """Print a row for each file that the search tried."""
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
