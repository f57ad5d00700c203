"""``tledge targets``."""

from __future__ import annotations

from tledge.cli.options import JsonOption


def targets(as_json: JsonOption = False) -> None:
    """List the deployment targets and their budgets."""
    from rich.table import Table

    from tledge.cli.console import print_json, stdout_console
    from tledge.verification import targets as known

    loaded = {name: known.load(name) for name in known.names()}
    if as_json:
        print_json({"targets": {name: target.as_json() for name, target in loaded.items()}})
        return
    table = Table(
        "target", "description", "threads", "drop, points", "p95 ms", "MB", "memory MB", box=None, header_style="bold"
    )
    for name, target in loaded.items():
        values = target.budget.as_json()
        basis = target.basis.as_json()
        cells = [f"{value:g}{' (guess)' if basis[key] == 'guess' else ''}" for key, value in values.items()]
        table.add_row(name, target.description, str(target.threads), *cells)
    stdout_console().print(table)
