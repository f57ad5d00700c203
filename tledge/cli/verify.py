"""``tledge verify``."""

from __future__ import annotations

from typing import Annotated

import typer

from tledge.cli.options import ArtifactsOption, JsonOption, RunOption


def verify(
    run: RunOption = None,
    target: Annotated[str, typer.Option(help="A target's name (see: tledge targets) or a .toml file.")] = "cpu",
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", metavar="FORMAT", help="Only these artifacts; default: all of the run."),
    ] = None,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run every artifact against the original; exit code 1 where a budget of the target is not kept."""
    from tledge.cli.console import TerminalProgress, print_json, stdout_console
    from tledge.reporting.markdown import write
    from tledge.reporting.table import table
    from tledge.run import artifacts_root
    from tledge.verification.verify import verify as verify_run

    report = verify_run(
        run, target=target, format_names=formats or (), artifacts=artifacts, progress=TerminalProgress(quiet=as_json)
    )
    folder = artifacts_root(artifacts) / report.run / "verification"
    write(report, folder)
    if as_json:
        print_json(report.as_json())
    else:
        console = stdout_console()
        console.print(table(report, console.width))
        console.print(f"{folder / 'report.json'}", markup=False, highlight=False, soft_wrap=True)
    if report.verdict == "failed":
        raise typer.Exit(1)
