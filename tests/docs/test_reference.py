"""The reference holds all that the code has, and says of each thing what it is."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from typer.main import get_command

from tledge import records
from tledge.cli.main import app

from .pages import DOCS

ROOT = DOCS.parent


@pytest.fixture(scope="module")
def reference() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [*sys.path, str(ROOT / "scripts")])
        import docs_reference

        yield docs_reference


def test_every_option_of_every_command_is_listed(reference: ModuleType) -> None:
    commands: Any = get_command(app)
    sections = dict(re.findall(r"^## tledge (\w+)\n(.*?)(?=^## |\Z)", reference.commands(), re.MULTILINE | re.DOTALL))
    assert sections.keys() == commands.commands.keys()
    for name, command in commands.commands.items():
        options = [one.opts[0] for one in command.params if one.param_type_name == "option"]
        missing = [option for option in options if f"`{option}`" not in sections[name]]
        assert missing == [], name


def test_every_key_of_every_record_says_what_it_is(reference: ModuleType) -> None:
    kinds = [kind for kind in vars(records).values() if isinstance(kind, type) and issubclass(kind, records.Record)]
    assert [
        (kind.__name__, key) for kind in kinds for key, field in kind.model_fields.items() if not field.description
    ] == []
    assert "`accuracy_drop_points_interval`" in reference.documents()


@pytest.mark.parametrize(
    "part", ["recipes", "recipe keys", "augmentations", "targets", "target keys", "formats", "exit codes"]
)
def test_a_table_has_as_many_cells_in_each_row(reference: ModuleType, part: str) -> None:
    text = reference.PARTS[part]()
    for table in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE):
        assert len({row.count(" | ") for row in table.strip().splitlines()}) == 1, table


def test_every_part_that_a_page_asks_for_is_made(reference: ModuleType) -> None:
    asked = {mark for page in DOCS.rglob("*.md") for mark in re.findall(r"<!-- reference: (.*) -->", page.read_text())}
    assert asked == set(reference.PARTS)


def test_every_exit_code_of_an_error_stands_in_the_table_of_codes() -> None:
    from tledge import errors

    page = (DOCS / "reference" / "exit-codes.md").read_text()
    codes = {kind.exit_code for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "exit_code")}
    assert all(f"| {code} |" in page for code in codes)


def _said() -> list[str]:
    """The fixed parts of what verify and its reports warn of."""
    return [
        "these limits are guesses",
        "and this machine has",
        "has no runtime for them",
        "the original was not timed",
        "no noise floor at",
        "an artifact differed from itself",
        "slower than",
        "cuts sums off",
        "it was searched for a drop of at most",
        "the training ended while the validation loss still fell",
        "is no better than that of answering",
        "can't be told from that of guessing at random",
        "no float32 artifact of this family was verified",
        "The layers could not be compared",
        "the test photos differ",
        "the labels differ",
        "the budgets differ",
        "both reports are of one",
        "both are one and the same report",
        "another operating system",
        "other versions of libraries",
        "can't be compared by every rule",
        "latency is not compared",
    ]


@pytest.mark.parametrize("words", _said())
def test_a_warning_of_verify_has_an_entry_and_is_still_said(words: str) -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "tledge").rglob("*.py")))
    assert words in (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    assert words in source
