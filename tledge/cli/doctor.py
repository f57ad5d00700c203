"""The command ``tledge doctor`` tells what this machine has, and what would stop a build."""

from __future__ import annotations

import typer

from tledge.cli.shared_options import ArtifactsOption, JsonOption

_WOULD_STOP = 3


def doctor(artifacts: ArtifactsOption = None, as_json: JsonOption = False) -> None:
    """Tell what this machine has, and what would stop a build. Put it into a bug report: it names no user and no host.

    It ends with exit code 3 where something would stop a build. The line says what, and the way out.
    """
    import dataclasses

    from tledge.cli.output import print_json, print_line
    from tledge.doctor.examine import examine
    from tledge.run import artifacts_root

    findings = []
    for finding in examine(artifacts_root(artifacts)):
        findings.append(finding)
        if not as_json:
            print_line(f"{finding.name}: {finding.value}")
            if finding.problem is not None:
                print_line(f"PROBLEM: {finding.problem.rstrip('.')}. {finding.remedy}".rstrip())
    problems = sum(finding.problem is not None for finding in findings)
    if as_json:
        print_json({"stops_a_build": problems > 0, "findings": [dataclasses.asdict(finding) for finding in findings]})
    else:
        counted = (
            "1 line names a problem that stops a build"
            if problems == 1
            else f"{problems} lines name problems that stop a build"
        )
        print_line(counted if problems else "nothing here stops a build")
    if problems:
        raise typer.Exit(_WOULD_STOP)
