"""This module makes a recipe from what the user asks for: a name or a file, and values in place of its own."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tledge.backbones import is_pretrained
from tledge.errors import InputError, first_problem, unknown
from tledge.files import MAX_TABLE_BYTES, read_file
from tledge.training.augmentation_settings import PRESETS, Augmentation
from tledge.training.recipe import HEAD, RECIPES, UNREAD_BY_METHOD, Recipe, unread_steps

_HEAD = re.compile(r"linear|mlp:[1-9][0-9]{0,4}(,[1-9][0-9]{0,4}){0,3}")
_WAYS = {
    "features": "trains the head alone, on features that are computed before,",
    "cut": "trains on activations that are computed before",
    "whole": "reads photos in every epoch",
}
_OTHERS = {
    "features": "Use --recipe finetune or best.",
    "cut": "Use --recipe best.",
    "whole": "Use --recipe finetune.",
}


def default(handle: str, weights: str | None, augment: str | None = None) -> str:
    """Return the name of the recipe that is used where none is given.

    It is ``scratch`` for an untrained backbone, ``finetune`` where photos are to be augmented, and else the fast
    ``head``.
    """
    if not is_pretrained(handle, weights):
        return "scratch"
    return "head" if augment in (None, "none") else "finetune"


def resolve(name: str, options: Mapping[str, Any]) -> Recipe:
    """Return a recipe by its name or from a TOML file, with the given values in place of its own.

    A value of None keeps the recipe's. A file may start from a named recipe by its key ``base``. ``augment`` is a
    preset's name, or a table of settings, and ``horizontal_flip`` changes that one setting. Where augmentation is
    turned off, there are no views, unless they are given too. Raises InputError for an unknown recipe or key, and for a
    wrong value; the message names the value and its range.
    """
    given = {key: value for key, value in options.items() if value is not None}
    if name.endswith(".toml"):
        values = _from_file(Path(name))
    elif name in RECIPES:
        values = RECIPES[name].as_json()
    else:
        raise unknown("recipe", name, RECIPES, "Or give a .toml file.")
    flip = given.pop("horizontal_flip", None)
    if isinstance(given.get("augment"), str):
        given["augment"] = preset(given["augment"]).as_json()
    if flip is not None:
        given["augment"] = {**given.get("augment", values["augment"]), "horizontal_flip": flip}
    return _validated(
        _replaced(values, given), lambda key: f"--{key.replace('_', '-')}" if key in given else f"{name}: {key}"
    )


def preset(text: str) -> Augmentation:
    """Return an augmentation by its name and changed settings, such as ``light,rotation_degrees=20,zoom=0``.

    Raises InputError with the nearest match for an unknown name or setting, and for a wrong value; the message names
    the value and its range.
    """
    name, *changes = text.split(",")
    if name not in PRESETS:
        raise unknown("augmentation", name, PRESETS)
    values: dict[str, Any] = dict(part.partition("=")[::2] for part in changes)
    for key in values:
        if key not in Augmentation.model_fields:
            raise unknown("number of --augment", key, Augmentation.model_fields)
    try:
        return Augmentation.model_validate_strings({**_strings(PRESETS[name]), **values})
    except ValidationError as error:
        raise InputError(f"--augment {text}: {first_problem(error)}") from error


def _strings(settings: Augmentation) -> dict[str, str]:
    return {key: str(value) for key, value in settings.as_json().items()}


def to_toml(recipe: Recipe) -> str:
    """Write the recipe as TOML text that :func:`resolve` reads; values that are None are left out."""
    import tomli_w

    values = recipe.as_json()
    return tomli_w.dumps({key: value for key, value in values.items() if value is not None and key != "name"})


def _from_file(path: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(read_file(path, MAX_TABLE_BYTES).decode())
    except FileNotFoundError as error:
        raise InputError(f"recipe {path}: no such file") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"recipe {path}: no readable TOML file: {error}") from error
    base = table.pop("base", "head")
    if base not in RECIPES:
        raise unknown(f"base in {path}", str(base), RECIPES)
    for key in table:
        if key not in Recipe.model_fields:
            raise unknown(f"key in {path}", key, [field for field in Recipe.model_fields if field != "name"])
    if isinstance(table.get("augment"), str):
        table["augment"] = preset(table["augment"]).as_json()
    elif isinstance(table.get("augment"), dict):
        for key in table["augment"]:
            if key not in Augmentation.model_fields:
                raise unknown(f"key in [augment] of {path}", key, Augmentation.model_fields)
    return _replaced(RECIPES[base].as_json(), {**table, "name": path.stem})


def _replaced(values: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return ``values`` with the given ones in place.

    Where the given ones turn augmentation off, the views become 0 unless they are given too.
    """
    if given.get("augment") == PRESETS["none"].as_json():
        given = {"views": 0, **given}
    return {**values, **given}


def _validated(values: dict[str, Any], named: Any) -> Recipe:
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        key, said, value = first_problem(error)
        raise InputError(f"{named(key)} {value}: {said}") from error
    if not _HEAD.fullmatch(recipe.head):
        raise InputError(f"{named('head')} {recipe.head!r}: use linear, or mlp:UNITS like mlp:256 or mlp:256,64")
    unread = [key for key in UNREAD_BY_METHOD[recipe.method] if getattr(recipe, key) != getattr(HEAD, key)]
    if unread:
        names = ", ".join(named(key) for key in unread)
        raise InputError(
            f"{names}: recipe {recipe.name} {_WAYS[recipe.method]} and does not use it. {_OTHERS[recipe.method]}"
        )
    unread = [key for key in unread_steps(recipe) if getattr(recipe, key) != getattr(HEAD, key)]
    if unread:
        raise InputError(
            f"{', '.join(named(key) for key in unread)}: recipe {recipe.name} finds the one best linear head, without steps, "
            "and does not use it. Drop it, or use hidden layers with --head mlp:256."
        )
    if recipe.method == "cut" and not (recipe.unfreeze_from or recipe.time_budget_s):
        raise InputError(f"recipe {recipe.name} trains above a cut: say which with --unfreeze-from or --time-budget")
    if recipe.method in ("cut", "features") and recipe.augment != PRESETS["none"] and not recipe.views:
        raise InputError(f"recipe {recipe.name} augments photos before it trains: say with --views how many of each")
    if recipe.views and recipe.augment == PRESETS["none"]:
        raise InputError(f"{named('views')}: the views would all be alike. Choose an augmentation with --augment.")
    return recipe
