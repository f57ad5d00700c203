"""Every number of a recipe is an option, made from the recipe's fields."""

from __future__ import annotations

import json
from typing import Any

import pytest
import typer
import typer.main
from typer.testing import CliRunner

from tledge.cli.main import app
from tledge.cli.recipe_options import RecipeCommand, given
from tledge.training.recipe import Recipe

BUILD: Any = typer.main.get_command(app).commands["build"]  # type: ignore[attr-defined]
OPTIONS = {option.name: option for option in BUILD.get_params(typer.Context(BUILD))}


def _given(*arguments: str) -> Any:
    """What a command of a recipe's options reads from its command line."""
    mine = typer.Typer()

    @mine.command(cls=RecipeCommand)
    def show(context: typer.Context, name: str = "") -> None:
        print(json.dumps([name, given(context)]))

    outcome = CliRunner().invoke(mine, arguments, catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output
    return json.loads(outcome.stdout)


@pytest.mark.parametrize("field", sorted(Recipe.model_fields.keys() - {"name", "method"}))
def test_a_field_of_the_recipe_is_an_option_whose_help_is_its_description(field: str) -> None:
    assert OPTIONS[field].help == Recipe.model_fields[field].description
    assert len(OPTIONS[field].help.split()) > 3
    assert OPTIONS[field].help.endswith(".")
    assert OPTIONS[field].rich_help_panel in ("Head", "Training", "Photos", "Machine")


@pytest.mark.parametrize(
    ("field", "shown"),
    [
        ("max_epochs", "head 100; finetune 12; best 14; scratch 5"),
        ("learning_rate", "finetune, best 0.0003; scratch 0.001"),  # a linear head takes no steps
        ("views", "head 0; finetune 4"),
        ("augment", "head, scratch none; finetune, best light"),
        ("horizontal_flip", "head, scratch off; finetune, best on"),
        ("unfreeze_from", "finetune block_13"),
        ("time_budget_s", "not given"),
        ("dropout", "0.5"),
    ],
)
def test_the_default_in_the_help_is_the_one_of_each_recipe_that_reads_it(field: str, shown: str) -> None:
    assert OPTIONS[field].show_default == shown


def test_options_come_by_field_beside_the_commands_own() -> None:
    assert _given("--max-epochs", "3", "--dropout", "0.25", "--no-flip", "--name", "mine") == [
        "mine",
        {"max_epochs": 3, "dropout": 0.25, "horizontal_flip": False},
    ]
    assert _given("--time-budget", "2m", "--class-weights", "--schedule", "cosine") == [
        "",
        {"time_budget_s": 120.0, "class_weights": True, "schedule": "cosine"},
    ]
    assert _given() == ["", {}]
