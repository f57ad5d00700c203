"""What a terminal or a page may be shown of text that others wrote: file names, class names, what a library said.

A terminal obeys escape sequences, so a name can clear the screen and write a verdict; bidirectional controls show
letters in another order than they stand. Whatever tledge shows passes here; JSON holds the text as it is, escaped.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_MOST_NAMED = 5
_LINE_END = re.compile("\\s*[\t\n\x0b\x0c\r\x1c-\x1f\x85\u2028\u2029]\\s*")
_JOINERS = "\u200c\u200d"  # no letters, yet Persian words and emoji of several persons are spelled with them


def printable_lines(text: str) -> str:
    """The text in its lines, each character that is a control, a surrogate or unassigned as U+FFFD."""
    return text if text.isprintable() else "".join(map(_shown, text))


def one_line(text: str) -> str:
    """The printable text in one line: a line end or a tab, with the white space around it, is one space."""
    return printable_lines(_LINE_END.sub(" ", text).strip())


def few(items: Sequence[str]) -> str:
    """The first five, and how many more there are."""
    return "; ".join(
        [*items[:_MOST_NAMED], *([f"and {len(items) - _MOST_NAMED} more"] if len(items) > _MOST_NAMED else [])]
    )


def json_printable(encoded: str) -> str:
    """JSON of the same value in which a terminal finds nothing to obey: such characters stand as ``\\uXXXX``.

    ``encoded`` may hold other characters than ASCII, and its only line ends are those between values.
    """
    if encoded.isprintable():
        return encoded
    return "".join(character if _shown(character) == character else _escaped(character) for character in encoded)


def _shown(character: str) -> str:
    if (
        character.isprintable()
        or character in "\n\t"
        or character in _JOINERS
        or unicodedata.category(character) == "Zs"
    ):
        return character
    return "\N{REPLACEMENT CHARACTER}"


def _escaped(character: str) -> str:
    """As JSON writes it: UTF-16 code units, two where it lies beyond U+FFFF."""
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[place : place + 2].hex()}" for place in range(0, len(units), 2))
