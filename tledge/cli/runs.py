"""``tledge runs``."""

from __future__ import annotations

from tledge.cli.options import ArtifactsOption, JsonOption


def runs(artifacts: ArtifactsOption = None, as_json: JsonOption = False) -> None:
    """List the runs, oldest first."""
    from rich.table import Table

    from tledge.cli.console import print_json, stdout_console
    from tledge.run import artifacts_root, list_runs

    listed = list_runs(artifacts_root(artifacts))
    if as_json:
        print_json({"runs": [entry.as_json() for entry in listed]})
        return
    if not listed:
        print(f"no runs in {artifacts_root(artifacts)}")
        return
    table = Table("run", "created", "data set", "test top-1", "artifacts", "state", box=None, header_style="bold")
    for entry in listed:
        accuracy = "" if entry.test_accuracy is None else f"{entry.test_accuracy:.2%}"
        name = f"{entry.name} (latest)" if entry.is_latest else entry.name
        table.add_row(
            name, entry.created_utc, entry.dataset, accuracy, ", ".join(entry.artifacts), entry.problem or "whole"
        )
    stdout_console().print(table)
