"""The command ``tledge runs`` lists the runs."""

from __future__ import annotations

from tledge.cli.shared_options import ArtifactsOption, JsonOption


def runs(artifacts: ArtifactsOption = None, as_json: JsonOption = False) -> None:
    """List the runs, oldest first."""
    from tledge.cli.output import print_json, print_line, print_table
    from tledge.run import artifacts_root, list_runs

    listed = list_runs(artifacts_root(artifacts))
    if as_json:
        print_json({"runs": [entry.as_json() for entry in listed]})
        return
    if not listed:
        print_line(f"no runs in {artifacts_root(artifacts)}")
        return
    rows = []
    for entry in listed:
        accuracy = "" if entry.test_accuracy is None else f"{entry.test_accuracy:.2%}"
        name = f"{entry.name} (latest)" if entry.is_latest else entry.name
        artifacts_made, state = ", ".join(entry.artifacts), entry.problem or "whole"
        rows.append([name, entry.created_utc, entry.dataset, accuracy, artifacts_made, state])
    print_table(("run", "created", "data set", "test top-1", "artifacts", "state"), rows)
