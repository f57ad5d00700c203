"""``tledge verify``."""

from __future__ import annotations

from typing import Annotated

import typer

from tledge.cli.shared_options import ArtifactsOption, JsonOption, RunOption


def verify(
    run: RunOption = None,
    target: Annotated[str, typer.Option(help="A target's name (see: tledge targets) or a .toml file.")] = "cpu",
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", metavar="FORMAT", help="Only these artifacts; default: all of the run."),
    ] = None,
    max_drop: Annotated[
        float | None, typer.Option(metavar="POINTS", help="Accuracy budget in place of the target's.")
    ] = None,
    p95_ms: Annotated[float | None, typer.Option("--p95-ms", help="Latency budget in place of the target's.")] = None,
    max_mb: Annotated[float | None, typer.Option(help="Size budget in place of the target's.")] = None,
    max_memory_mb: Annotated[float | None, typer.Option(help="Memory budget in place of the target's.")] = None,
    certify: Annotated[
        bool, typer.Option("--certify", help="Ask for certainty: the drop's upper 95% bound must be inside the budget.")
    ] = False,
    accuracy_only: Annotated[
        bool, typer.Option("--accuracy-only", help="Artifacts against the original's stored answers, nothing else.")
    ] = False,
    protocol: Annotated[str, typer.Option(help="Of the latency measurement: quick, standard or mlperf.")] = "standard",
    threads: Annotated[
        str,
        typer.Option(metavar="N,N,...", help="Measure latency at these thread counts too.", show_default="target's"),
    ] = "",
    layers: Annotated[bool, typer.Option("--layers", help="Compare int8 artifacts with float layer by layer.")] = False,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run every artifact against the original; exit code 1 where a gate fails."""
    from tledge.api import verify as verify_run
    from tledge.cli.console import TerminalProgress
    from tledge.cli.output import print_json, print_report
    from tledge.cli.shared_options import whole_numbers
    from tledge.run import artifacts_root
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
        progress=TerminalProgress(quiet=as_json),
    )
    folder = artifacts_root(artifacts) / report.run / "verification"
    if as_json:
        print_json(report.as_json())
    else:
        print_report(report, folder, is_warned=True)
    if report.verdict == "failed":
        raise typer.Exit(1)
