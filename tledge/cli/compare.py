"""The command ``tledge compare`` compares two reports."""

from __future__ import annotations

from typing import Annotated

import typer

from tledge.cli.shared_options import ArtifactsOption, JsonOption

_RUN_HELP = "Compare this verified run, or this report.json that was kept from one."


def compare(
    run_a: Annotated[str, typer.Argument(metavar="RUN_A", help=_RUN_HELP)],
    run_b: Annotated[str, typer.Argument(metavar="RUN_B", help=_RUN_HELP)],
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put two reports side by side, and say what is better, worse, or inside noise. The outcome sets no exit code."""
    from tledge.cli.output import print_json, print_renderable
    from tledge.reporting.compare import compare_reports
    from tledge.reporting.compare_table import comparison_table
    from tledge.reporting.stored import named_report

    comparison = compare_reports(named_report(run_a, artifacts), named_report(run_b, artifacts))
    if as_json:
        print_json(comparison.as_json())
        return
    print_renderable(comparison_table(comparison))
