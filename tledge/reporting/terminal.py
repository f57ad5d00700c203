"""This module has what the sections' tables for a terminal share."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from rich.table import Table
from rich.text import Text

from tledge.printable import one_line

WIDE = 150
"""A terminal with at least so many columns shows everything in one table."""
STYLES = {"certified": "green", "passed": "green", "failed": "bold red"}


def plain_table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], *, text: Collection[str], wraps: Collection[str]
) -> Table:
    """Return a table without lines. A cell that holds a verdict is coloured by it.

    Args:
        headings: The names of the columns.
        rows: The texts of each row, one for each heading.
        text: The headings of columns of words, which stand at the left. Figures stand at the right.
        wraps: The headings of columns that give way where the terminal is narrow.
    """
    out = Table(box=None, header_style="bold", pad_edge=False)
    for heading in headings:
        justify = "left" if heading in text else "right"
        out.add_column(heading, justify=justify, no_wrap=heading not in wraps, overflow="fold")  # type: ignore[arg-type]
    for cells in rows:
        out.add_row(*(Text(one_line(cell), style=STYLES.get(cell, "")) for cell in cells))
    return out
