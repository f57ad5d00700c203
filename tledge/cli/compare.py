"""The command ``tledge compare`` compares two reports."""

from __future__ import annotations

from typing import Annotated

import typer

from tledge.cli.shared_options import ArtifactsOption, JsonOption


def compare(
    base: Annotated[
        str, typer.Argument(metavar="BASE", help="Compare with this verified run, or a report.json kept from one.")
    ],
    new: Annotated[
        str, typer.Argument(metavar="NEW", help="Compare this verified run, or a report.json kept from one.")
    ],
    fail_on: Annotated[
        str | None,
        typer.Option(
            metavar="RULE,RULE,...",
            help="Fail with exit code 1 where an artifact of NEW is worse by one of these rules: accuracy, agreement, "
            "latency, size. Where a rule can't judge the two reports, the exit code is 2. Use it to gate a change in CI.",
            show_default="no gate",
        ),
    ] = None,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put two reports side by side, and say what is better, worse, or inside noise. With --fail-on it is a gate."""
    from tledge.cli.output import print_json, print_line, print_renderable
    from tledge.errors import InputError
    from tledge.reporting.compare import compare_reports
    from tledge.reporting.compare_table import comparison_table, gate_lines
    from tledge.reporting.regressions import judge_reports, parse_rules, what_is_not_comparable
    from tledge.reporting.stored import named_report

    rules = None if fail_on is None else parse_rules(fail_on)
    reports = named_report(base, artifacts), named_report(new, artifacts)
    judged = None if rules is None else judge_reports(*reports, rules)
    comparison = judged or compare_reports(*reports)
    if as_json:
        print_json(comparison.as_json())
    else:
        print_renderable(comparison_table(comparison))
    if judged is None:
        return
    if not as_json:
        for line in gate_lines(judged.gate):
            print_line(line)
    if judged.gate.verdict == "failed":
        raise typer.Exit(1)
    if judged.gate.verdict == "not comparable":
        raise InputError(
            f"these reports can't be compared by every rule: {'; '.join(what_is_not_comparable(judged.gate))}"
        )
