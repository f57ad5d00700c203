"""This module prints results to stdout, as lines, tables or JSON. Its console shows no control characters."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from tledge.printable import json_printable, one_line, printable_lines
from tledge.records import Report

_PIPE_WIDTH = 200  # A pipe has no width of its own, and gets wide rows, in columns, rather than folded ones.


class PrintableConsole(Console):
    """This console styles and moves as Rich does, and shows only what is printable of every text."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable_lines(segment.text))


def print_line(text: str) -> None:
    """Print the text as one line, however long."""
    print(one_line(text))


def json_text(value: Any, *, indent: int | None = None) -> str:
    """Return a value as JSON, exact to the letter, in which a terminal finds no control characters."""
    return json_printable(json.dumps(value, indent=indent, ensure_ascii=False))


def print_json(value: Any) -> None:
    """Print a value as JSON, indented by two spaces."""
    print(json_text(value, indent=2))


def print_json_of_many(
    head: Mapping[str, Any], name: str, items: Iterable[Any], tail: Callable[[], Mapping[str, Any]]
) -> None:
    """Print one JSON object: ``head``, the list ``name`` of items, and ``tail``, which is called after the last item.

    The items wait on disk until then, as there may be many.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8") as waiting:
        between = ""
        for item in items:
            waiting.write(f"{between}\n    {json_text(item)}")
            between = ","
        waiting.seek(0)
        print(json_text(head)[:-1], f"{json_text(name)}: [", sep=", ", end="")
        shutil.copyfileobj(waiting, sys.stdout)
        print("\n  ]", json_text(tail())[1:], sep=", ")


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[str] = ()) -> None:
    """Print a table. ``right`` are the headings of columns that are aligned at the right."""
    table = Table(box=None, header_style="bold")
    for heading in headings:
        table.add_column(heading, justify="right" if heading in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(one_line(cell)) for cell in row))
    print_renderable(table)


def print_report(report: Report, folder: Path, *, is_warned: bool = False) -> None:
    """Print the tables of a report, and the path of its page. ``is_warned``: its warnings were printed before."""
    from tledge.reporting.table import table

    console = _stdout()
    console.print(table(report, console.width, is_warned=is_warned))
    print_line(str(folder / "report.html"))


def print_renderable(renderable: RenderableType) -> None:
    """Print anything that Rich can show."""
    _stdout().print(renderable)


def _stdout() -> Console:
    console = PrintableConsole()
    return console if console.is_terminal else PrintableConsole(width=_PIPE_WIDTH)
