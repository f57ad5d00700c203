"""Text that others wrote, as it is shown."""

from __future__ import annotations

import json
import sys

import pytest

from tledge.printable import json_printable, one_line, printable_lines

CONTROLS = "\x00\x07\x08\x1b\x7f\x9b\u200e\u202e\u2066\u2069\ufeff\ud800\udcff\U000e0041\U0010ffff"


def test_text_of_others_becomes_one_printable_line() -> None:
    assert (
        one_line("a\r\n b\x00\x1b[2J\tc\u2028d\x85e\n")
        == "a b\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}[2J c d e"
    )


@pytest.mark.parametrize("character", CONTROLS, ids=ascii)
def test_a_character_that_a_terminal_may_obey_is_replaced(character: str) -> None:
    assert printable_lines(f"a{character}b\n") == "a\N{REPLACEMENT CHARACTER}b\n"


@pytest.mark.parametrize(
    "name",
    ["two  spaces", "\u3042\u3000\u82b1", "na\xefve", "\u0646\u06cc\u0645\u200c\u0641", "\U0001f469\u200d\U0001f33e"],
)
def test_a_name_in_any_script_stays_as_it_is(name: str) -> None:
    assert one_line(name) == name


def test_every_character_is_told_to_the_letter_by_json_that_a_terminal_does_not_obey() -> None:
    value = {"every": "".join(map(chr, range(sys.maxunicode + 1)))}
    for indent in (None, 2):
        shown = json_printable(json.dumps(value, indent=indent, ensure_ascii=False))
        assert json.loads(shown) == json.loads(json.dumps(value))
        assert printable_lines(shown) == shown
        assert "\u82b1" in shown  # what can be read stays readable
