"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RunOption = Annotated[str | None, typer.Option("--run", metavar="NAME", help="The run; default: the latest.")]
ArtifactsOption = Annotated[
    Path | None,
    typer.Option(
        "--artifacts", metavar="DIR", envvar="TLEDGE_ARTIFACTS", help="Folder of the runs.", show_default="artifacts"
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text and bars.")]


def whole_numbers(option: str, text: str) -> tuple[int, ...]:
    """``1,2,4`` as numbers; empty for none. Raises InputError for anything else."""
    from tledge.errors import InputError

    try:
        return tuple(int(part) for part in text.split(",")) if text.strip() else ()
    except ValueError as error:
        raise InputError(f"{option} {text!r}: use whole numbers with commas between, like 1,2,4") from error
