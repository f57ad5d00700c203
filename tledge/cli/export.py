"""``tledge export``."""

from __future__ import annotations

from typing import Annotated

import typer

from tledge.cli.options import ArtifactsOption, JsonOption, RunOption


def export(
    formats: Annotated[
        list[str],
        typer.Option(
            "--format", metavar="FORMAT", help="tflite-float32, tflite-int8, onnx-int8, ..., or all. May be repeated."
        ),
    ],
    run: RunOption = None,
    calibration_samples: Annotated[
        int | None,
        typer.Option(help="Training photos that set the ranges of int8 formats, even by class.", show_default="200"),
    ] = None,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Convert a run to formats for devices, each audited before it is kept."""
    from tledge.cli.console import TerminalProgress, print_json
    from tledge.exporters.calibration import DEFAULT_SAMPLES
    from tledge.exporters.export import export as export_run

    records = export_run(
        run,
        formats,
        calibration_samples=DEFAULT_SAMPLES if calibration_samples is None else calibration_samples,
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
