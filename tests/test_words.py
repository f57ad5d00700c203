"""What a machine can hold of the words: docstrings begin with a sentence, and options say what they do."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

import tledge
from tledge.cli.main import app

PACKAGE = Path(tledge.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
# What leans on a sentence before it, or is none.
LEANING = (
    "Of ",
    "Those ",
    "That of ",
    "What is none",
    "The same",
    "As of",
    "As for",
    "Itself",
    "Its ",
    "And ",
    "Also ",
    "None:",
)
# A function's docstring begins with a verb: ruff's D401 holds that. These are the first words of the others.
ARTICLES = {"A", "An", "The", "This", "These", "Each", "Every", "One", "Two", "All"}
ANOTHER_BEGINNING = re.compile(
    r"``|[A-Z][A-Za-z0-9_.\-]*[A-Z0-9_.]|tledge\b"
)  # a name, such as ``cut.json`` or TensorFlow


def _docstrings(path: Path) -> Iterator[tuple[str, ast.AST, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            name = getattr(node, "name", path.stem)
            text = ast.get_docstring(node)
            if text and (not name.startswith("_") or name == "__init__"):
                yield name, node, text


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_docstring_begins_with_a_sentence_of_its_own(path: Path) -> None:
    wrong = []
    for name, node, text in _docstrings(path):
        summary = text.partition("\n\n")[0].replace("\n", " ")
        first = summary.split(". ")[0]
        begins = first.split()[0]
        is_sentence = summary.endswith(".") and len(first.split()) >= 3 and not first.startswith(LEANING)
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            is_named = begins in ARTICLES or begins.endswith("s") or ANOTHER_BEGINNING.match(begins)
            is_sentence = is_sentence and bool(is_named)
        if not is_sentence:
            wrong.append(f"{name}: {summary}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_does_in_more_than_three_words(name: str) -> None:
    context = COMMANDS[name].make_context(name, [], resilient_parsing=True)
    for parameter in COMMANDS[name].get_params(context):
        text = inspect.cleandoc(getattr(parameter, "help", None) or "")
        if parameter.name != "help":
            assert len(text.split()) > 3, f"{name} {parameter.opts}: {text!r}"
            assert text.endswith((".", ")")), f"{name} {parameter.opts}: {text!r}"
