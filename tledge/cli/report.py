"""The command ``tledge report`` writes the reports again."""

from __future__ import annotations

from tledge.cli.shared_options import ArtifactsOption, RunOption


def report(run: RunOption = None, artifacts: ArtifactsOption = None) -> None:
    """Write the reports again from the last verification, without measuring. The verdict sets no exit code."""
    from tledge.cli.output import print_report
    from tledge.reporting.stored import write_again

    print_report(*write_again(run, artifacts))
