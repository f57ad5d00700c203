"""This module makes text of others safe to show, and puts names and counts into sentences.

The text of others is file names, class names and messages of libraries. A terminal obeys escape sequences, so a name can
clear the screen and write a verdict. Bidirectional controls show letters in another order than they stand. All text that
tledge shows passes here. JSON holds the text as it is, escaped.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_MOST_NAMED = 5
_LINE_END = re.compile("\\s*[\t\n\x0b\x0c\r\x1c-\x1f\x85\u2028\u2029]\\s*")
_JOINERS = "\u200c\u200d"  # they are no letters, yet Persian words and emoji of several persons need them


def printable_lines(text: str) -> str:
    """Return the text with its line ends, and each control, surrogate or unassigned character replaced by U+FFFD."""
    return text if text.isprintable() else "".join(map(_shown, text))


def one_line(text: str) -> str:
    """Return the printable text in one line: a line end or a tab, with the white space around it, becomes one space."""
    return printable_lines(_LINE_END.sub(" ", text).strip())


def few(items: Sequence[str], between: str = "; ") -> str:
    """Join the first five items, and say how many more there are."""
    rest = [f"and {len(items) - _MOST_NAMED} more"] if len(items) > _MOST_NAMED else []
    return between.join([*items[:_MOST_NAMED], *rest])


def sentence(text: str) -> str:
    """Return the text with a full stop at its end, unless it ends in one already. Other programs' text may."""
    return text if text.endswith((".", "?", "!")) else f"{text}."


def counted(count: int, noun: str, one: str = "", many: str = "") -> str:
    """Write a count with its noun, and the verb that follows in its two forms, as ``1 photo is`` or ``1,024 photos are``.

    The noun is given in the singular.
    """
    ending = "" if count == 1 else "es" if noun.endswith(("s", "x", "ch", "sh")) else "s"
    if count != 1 and re.search("[^aeiou]y$", noun):
        noun, ending = noun.removesuffix("y"), "ies"
    return " ".join(filter(None, [f"{count:,}", noun + ending, one if count == 1 else many]))


def json_printable(encoded: str) -> str:
    """Escape characters that a terminal could obey as ``\\uXXXX``, in JSON that keeps its value.

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
    """Escape a character as JSON does: one ``\\uXXXX`` a UTF-16 code unit, so two beyond U+FFFF."""
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[place : place + 2].hex()}" for place in range(0, len(units), 2))
