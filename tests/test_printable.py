"""Text that others wrote, as it is shown."""

from __future__ import annotations

import json
import sys

import pytest

from tledge.errors import nearest
from tledge.printable import counted, json_printable, one_line, printable_lines, sentence

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


@pytest.mark.long
def test_every_character_is_told_to_the_letter_by_json_that_a_terminal_does_not_obey() -> None:
    value = {"every": "".join(map(chr, range(sys.maxunicode + 1)))}
    for indent in (None, 2):
        shown = json_printable(json.dumps(value, indent=indent, ensure_ascii=False))
        assert json.loads(shown) == json.loads(json.dumps(value))
        assert printable_lines(shown) == shown
        assert "\u82b1" in shown  # what can be read stays readable


@pytest.mark.parametrize(
    ("count", "noun", "verbs", "text"),
    [
        (1, "photo", ("is", "are"), "1 photo is"),
        (0, "photo", ("is", "are"), "0 photos are"),
        (1024, "class", (), "1,024 classes"),
        (2, "copy", (), "2 copies"),
        (2, "array", ("lies", "lie"), "2 arrays lie"),
    ],
)
def test_a_count_stands_with_its_plural_and_its_verb(count: int, noun: str, verbs: tuple[str, ...], text: str) -> None:
    assert counted(count, noun, *verbs) == text


def test_a_sentence_has_one_full_stop_whoever_wrote_it() -> None:
    assert [sentence(text) for text in ("no memory", "No memory.", "Why?")] == ["no memory.", "No memory.", "Why?"]


def test_the_nearest_name_is_found_whatever_its_case_and_form_of_unicode() -> None:
    assert nearest("DAISY", ["daisy", "rose"]) == "daisy"
    assert nearest("cafe\u0301", ["caf\u00e9", "cake"]) == "caf\u00e9"
    assert nearest("xyz", ["daisy"]) is None
