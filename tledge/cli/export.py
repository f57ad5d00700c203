"""``tledge export``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tledge.cli.options import ArtifactsOption, JsonOption, RunOption


def export(
    formats: Annotated[
        list[str],
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="tflite-float32, tflite-int8, tflite-int8-qat, ...; all: every one that needs no "
            "training. May be repeated.",
        ),
    ],
    run: RunOption = None,
    calibration_samples: Annotated[
        int | None,
        typer.Option(help="Training photos that set the ranges of int8 formats, even by class.", show_default="200"),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Of the formats that train: -qat, -pruned.", show_default="2")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="At the start of that training.", show_default="1e-5")
    ] = None,
    sparsity: Annotated[
        str | None, typer.Option(metavar="SHARE|N:M", help="Weights of -pruned that become zero.", show_default="0.5")
    ] = None,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Convert a run to formats for devices, each audited before it is kept."""
    from tledge.cli.console import TerminalProgress, print_json
    from tledge.exporters.export import export as export_run
    from tledge.exporters.material import Options

    given: dict[str, Any] = {
        "calibration_samples": calibration_samples,
        "epochs": epochs,
        "learning_rate": learning_rate,
        "sparsity": sparsity,
    }
    records = export_run(
        run,
        formats,
        options=Options(**{name: value for name, value in given.items() if value is not None}),
        artifacts=artifacts,
        progress=TerminalProgress(quiet=as_json),
    )
    if as_json:
        print_json({"exports": [record.as_json() for record in records]})
        return
    for record in records:
        kinds: dict[str, int] = {}
        for operator in record.audit.operators:
            kinds[operator.kind] = kinds.get(operator.kind, 0) + operator.count
        counted = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items(), key=lambda item: -item[1]))
        print(f"{record.format}: {record.size_bytes / 1e6:.3f} MB; operators: {counted}; {record.convert_s:.1f} s")
