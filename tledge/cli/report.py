"""``tledge report``."""

from __future__ import annotations

from tledge.cli.options import ArtifactsOption, RunOption


def report(run: RunOption = None, artifacts: ArtifactsOption = None) -> None:
    """Write the reports again from the last verification, without measuring; the verdict sets no exit code."""
    from tledge.cli.console import stdout_console
    from tledge.reporting.stored import write_again
    from tledge.reporting.table import table

    stored, folder = write_again(run, artifacts)
    console = stdout_console()
    console.print(table(stored, console.width))
    console.print(f"{folder / 'report.html'}", markup=False, highlight=False, soft_wrap=True)
