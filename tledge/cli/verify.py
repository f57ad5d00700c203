"""The command ``tledge verify`` measures what artifacts lose."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tledge.cli.shared_options import ArtifactsOption, JsonOption, MovedDatasetOption, RunOption


def verify(
    run: RunOption = None,
    target: Annotated[
        str,
        typer.Option(help="Judge by the budgets of this target, a name (see: tledge targets) or a .toml file."),
    ] = "cpu",
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="Verify only the artifact of this format. Repeat the option for several.",
            show_default="all of the run",
        ),
    ] = None,
    files: Annotated[
        list[Path] | None,
        typer.Option(
            "--file",
            metavar="FILE",
            help="Judge this .tflite or .onnx file too, which another tool made. Repeat the option for several.",
            show_default="none",
        ),
    ] = None,
    file_input: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help='Give all pixels to the files of --file in this way, such as "scale=0..1 order=rgb". Use it where tledge '
            "can't tell by trial.",
            show_default="found by trial on labelled photos",
        ),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            metavar="POINTS",
            help="Allow a drop of top-1 accuracy of this many points, in place of the target's budget.",
            show_default="the target's",
        ),
    ] = None,
    p95_ms: Annotated[
        float | None,
        typer.Option(
            "--p95-ms",
            help="Allow a p95 latency of this many milliseconds, in place of the target's budget.",
            show_default="the target's",
        ),
    ] = None,
    max_mb: Annotated[
        float | None,
        typer.Option(
            help="Allow artifacts of this many megabytes, in place of the target's budget.", show_default="the target's"
        ),
    ] = None,
    max_memory_mb: Annotated[
        float | None,
        typer.Option(
            help="Allow a peak memory of this many megabytes, in place of the target's budget.",
            show_default="the target's",
        ),
    ] = None,
    certify: Annotated[
        bool,
        typer.Option(
            "--certify",
            help="Fail an artifact unless the whole 95% interval of its drop is inside the budget. Use it where you need "
            "certainty, and have enough test photos.",
        ),
    ] = False,
    accuracy_only: Annotated[
        bool,
        typer.Option(
            "--accuracy-only",
            help="Measure neither latency nor memory, and compare artifacts with the stored answers of the original. Use "
            "it for an answer in seconds.",
        ),
    ] = False,
    protocol: Annotated[
        str,
        typer.Option(
            help="Measure latency by this protocol: quick, standard or mlperf. Use quick for a first look, and mlperf for "
            "the minimum of MLPerf's single stream."
        ),
    ] = "standard",
    threads: Annotated[
        str,
        typer.Option(
            metavar="N,N,...",
            help="Measure latency also at these numbers of threads, to choose the one for the device.",
            show_default="the target's",
        ),
    ] = "",
    layers: Annotated[
        bool,
        typer.Option(
            "--layers",
            help="Compare int8 artifacts with float32 layer by layer. Use it to find the layers that lose accuracy.",
        ),
    ] = False,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Judge --file against this model of another program on the photos of --dataset, without a run. The model "
            "is imported into the cache.",
        ),
    ] = None,
    dataset: MovedDatasetOption = None,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure every artifact against the original, and judge it by a target's budgets. A failed gate gives exit code 1."""
    from tledge.cli.console import TerminalProgress
    from tledge.cli.output import print_json, print_report
    from tledge.cli.shared_options import whole_numbers
    from tledge.importing.reference import references_root
    from tledge.run import artifacts_root
    from tledge.stages import verify as verify_run
    from tledge.verification.measurement import Wanted

    limits = {
        "max_accuracy_drop_points": max_drop,
        "max_p95_latency_ms": p95_ms,
        "max_size_mb": max_mb,
        "max_memory_mb": max_memory_mb,
    }
    wanted = Wanted(limits, certify, accuracy_only, protocol, whole_numbers("--threads", threads), layers)
    report = verify_run(
        run,
        target=target,
        format_names=formats or (),
        wanted=wanted,
        artifacts=artifacts,
        dataset=dataset,
        files=files or (),
        file_input=file_input,
        against=against,
        progress=TerminalProgress(quiet=as_json),
    )
    root = artifacts_root(artifacts) if against is None else references_root()
    folder = root / report.run / "verification"
    if as_json:
        print_json(report.as_json())
    else:
        print_report(report, folder, is_warned=True)
    if report.verdict == "failed":
        raise typer.Exit(1)
