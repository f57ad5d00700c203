"""The numbers of a recipe become options of a command. They are made when the command's parser or its help asks.

Importing the recipe takes a tenth of a second, which the other commands and their help are spared.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperCommand

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from tledge.record_base import Record
    from tledge.training.recipe import Recipe
    from tledge.training.shown import Shown

_NOT_GIVEN = "not given"


class RecipeCommand(TyperCommand):
    """This command has an option for every shown field of a recipe. The context's ``obj`` holds their values by field."""

    def get_params(self, ctx: Any) -> list[Any]:
        *own, help_option = super().get_params(ctx)
        return [*own, *_options(), help_option]

    def invoke(self, ctx: Any) -> Any:
        ctx.obj = {option.name: ctx.params.pop(option.name) for option in _options()}
        return super().invoke(ctx)


def given(context: typer.Context) -> dict[str, Any]:
    """Return the fields of a recipe that the command line names, with their values. A time is in seconds.

    Raises InputError for an option of time whose value is no time.
    """
    from tledge.cli.shared_options import seconds

    return {
        option.name: seconds(option.opts[0], value) if option.metavar == "TIME" else value
        for option in _options()
        if (value := context.obj[option.name]) is not None
    }


@functools.cache
def _options() -> tuple[Any, ...]:
    """Make the options from a signature, as Typer makes those of a function."""

    def numbers() -> None: ...

    parameters = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_option(name, field, shown))
        for name, field, shown in _shown()
    ]
    numbers.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    app = typer.Typer(add_completion=False)
    app.command()(numbers)
    return tuple(typer.main.get_command(app).params)


def _shown() -> Iterator[tuple[str, FieldInfo, Shown]]:
    """Yield the fields that are options, of the recipe and of its augmentation."""
    from tledge.training.augmentation_settings import Augmentation
    from tledge.training.recipe import Recipe
    from tledge.training.shown import Shown

    records: tuple[type[Record], ...] = (Recipe, Augmentation)
    for record in records:
        for name, field in record.model_fields.items():
            yield from ((name, field, shown) for shown in field.metadata if isinstance(shown, Shown))


def _option(name: str, field: FieldInfo, shown: Shown) -> Any:
    kinds = {part for part in (field.annotation, *typing.get_args(field.annotation)) if part in (bool, int, float)}
    kind = str if shown.metavar or not kinds else kinds.pop()
    flag = shown.flag or f"--{name.replace('_', '-')}"
    choices = "|".join(typing.get_args(field.annotation)) if typing.get_origin(field.annotation) is Literal else None
    option = typer.Option(
        f"{flag}/--no-{flag.removeprefix('--')}" if kind is bool else flag,
        metavar=shown.metavar or choices,
        help=field.description,
        show_default=_defaults(name),
        rich_help_panel=shown.panel,
    )
    return Annotated[kind | None, option]


def _defaults(name: str) -> str:
    """Say which value a field has in each recipe that reads it, as in ``head 100; finetune 12``.

    Where it is the same in all, it is said once.
    """
    from tledge.training.recipe import RECIPES, unread_fields

    read = {recipe.name: _text(recipe, name) for recipe in RECIPES.values() if name not in unread_fields(recipe)}
    values = list(dict.fromkeys(read.values()))
    if len(values) == 1:
        return values[0]
    groups = [(value, ", ".join(one for one in read if read[one] == value)) for value in values if value != _NOT_GIVEN]
    return "; ".join(f"{names} {value}" for value, names in groups)


def _text(recipe: Recipe, name: str) -> str:
    from tledge.training.augmentation_settings import PRESETS

    value = getattr(recipe if name in type(recipe).model_fields else recipe.augment, name)
    if isinstance(value, bool):
        return "on" if value else "off"
    if value is None:
        return _NOT_GIVEN
    if isinstance(value, int | float):
        return f"{value:g}"
    return next((preset for preset, settings in PRESETS.items() if settings == value), str(value))
