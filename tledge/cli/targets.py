"""The command ``tledge targets`` lists the targets."""

from __future__ import annotations

from tledge.cli.shared_options import JsonOption


def targets(as_json: JsonOption = False) -> None:
    """List the deployment targets and their budgets."""
    from tledge.cli.output import print_json, print_table
    from tledge.verification import targets as known

    loaded = {name: known.load(name) for name in known.names()}
    if as_json:
        print_json({"targets": {name: target.as_json() for name, target in loaded.items()}})
        return
    rows = []
    for name, target in loaded.items():
        values = target.budget.as_json()
        basis = target.basis.as_json()
        cells = [f"{value:g}{' (guess)' if basis[key] == 'guess' else ''}" for key, value in values.items()]
        rows.append([name, target.description, str(target.threads), *cells])
    print_table(("target", "description", "threads", "drop, points", "p95 ms", "MB", "memory MB"), rows)
