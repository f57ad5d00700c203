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
