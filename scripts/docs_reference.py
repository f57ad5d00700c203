"""Makes the parts of the reference that are read from the code: commands, records, recipes, targets, exit codes."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pydantic import BaseModel


def commands() -> str:
    """Describe every command of tledge with its arguments and options, as its help does."""
    from typer.main import get_command

    from tledge.cli.main import app

    group: Any = get_command(app)
    return "\n\n".join(_command(name, command) for name, command in group.commands.items())


def documents() -> str:
    """Describe the keys of each JSON file of a run, and of each record inside of one."""
    from tledge.records import ExportRecord, Manifest, Report

    parts, seen = [], set()
    for model in (Manifest, ExportRecord, Report):
        schema = model.model_json_schema()
        parts.append(_record(model.__name__, schema))
        for name, inner in schema.get("$defs", {}).items():
            if name not in seen:
                seen.add(name)
                parts.append(_record(name, inner))
    return "\n\n".join(parts)


def recipes() -> str:
    """List the values that each named recipe has, one row a key."""
    from tledge.training.recipe import RECIPES

    keys = [key for key in next(iter(RECIPES.values())).as_json() if key not in ("name", "augment")]
    rows = [[f"`{key}`", *(_value(recipe.as_json()[key]) for recipe in RECIPES.values())] for key in keys] + [
        ["`augment`", *(_preset(recipe.augment) for recipe in RECIPES.values())]
    ]
    return _table(["key", *(f"`{name}`" for name in RECIPES)], rows)


def recipe_keys() -> str:
    """Describe the keys that a recipe's file may have."""
    from tledge.training.recipe import Recipe

    return _keys(Recipe.model_json_schema(), leave_out=("name",))


def augmentations() -> str:
    """List the numbers of each augmentation by name."""
    from tledge.training.augmentation_settings import PRESETS

    rows = [
        [f"`{key}`", *(_value(getattr(preset, key)) for preset in PRESETS.values())]
        for key in next(iter(PRESETS.values())).model_dump()
    ]
    return _table(["key", *(f"`{name}`" for name in PRESETS)], rows)


def targets() -> str:
    """List the targets that ship with tledge, and the file of each."""
    from tledge.verification import targets as known

    parts = []
    for name in known.names():
        text = (known.folder() / f"{name}.toml").read_text(encoding="utf-8")
        parts.append(f'### {name}\n\n```toml title="targets/{name}.toml"\n{text.strip()}\n```')
    return "\n\n".join(parts)


def target_keys() -> str:
    """Describe the keys that a target's file may have."""
    from tledge.verification.targets import Basis, Budget, Target

    tables = (("", Target), ("`[budget]`", Budget), ("`[basis]`", Basis))
    return "\n\n".join(
        "\n\n".join(filter(None, (title, _keys(model.model_json_schema(), leave_out=("budget", "basis")))))
        for title, model in tables
    )


def formats() -> str:
    """List what each format is for, and what it costs."""
    from tledge import exporters

    rows = [[f"`{name}`", form.purpose, form.cost] for name, form in exporters.formats().items()]
    return _table(["format", "what it is for", "what it costs"], rows)


def exit_codes() -> str:
    """List the kinds of errors with the exit code of each."""
    from tledge import errors

    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.TledgeError)]
    rows = [[str(kind.exit_code), f"`{kind.__name__}`", _first_line(kind)] for kind in kinds]
    return _table(["code", "error", "when"], sorted(rows, key=lambda row: int(row[0])))


def python_api() -> str:
    """Ask mkdocstrings for each public name of the package: the functions, then the types that they take and give."""
    import tledge

    names = sorted((name for name in tledge.__all__ if not name.startswith("_")), key=lambda name: name[0].isupper())
    return "\n\n".join(f"::: tledge.{name}" for name in names)


PARTS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "documents": documents,
    "recipes": recipes,
    "recipe keys": recipe_keys,
    "augmentations": augmentations,
    "targets": targets,
    "target keys": target_keys,
    "formats": formats,
    "exit codes": exit_codes,
    "python api": python_api,
}


def _command(name: str, command: Any) -> str:
    """One command: what it does, how it is called, and a table of options for each panel of its help."""
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    usage = " ".join(["tledge", name, *(one.metavar or one.name.upper() for one in arguments), "[OPTIONS]"])
    parts = [f"## tledge {name}", textwrap.dedent(command.help).strip(), f"```text\n{usage}\n```"]
    if arguments:
        rows = [[f"`{one.metavar or one.name.upper()}`", one.help or ""] for one in arguments]
        parts.append(_table(["argument", "meaning"], rows))
    panels: dict[str, list[list[str]]] = {}
    for option in command.params:
        if option.param_type_name == "option" and not option.hidden:
            panels.setdefault(option.rich_help_panel or "Options", []).append(_option(option))
    for panel, rows in panels.items():
        title = [f"**{panel}**"] if len(panels) > 1 else []
        parts += [*title, _table(["option", "meaning", "default"], rows)]
    return "\n\n".join(parts)


def _option(option: Any) -> list[str]:
    """An option's row: its names, its help, and what it is if it is left out."""
    names = " / ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    metavar = f" `{option.metavar}`" if option.metavar else ""
    if option.required:
        default = "required"
    elif isinstance(option.show_default, str):
        default = option.show_default
    else:
        default = "" if option.default in (None, False, "") else f"`{option.default}`"
    help_text = (option.help or "").replace("\\[", "[")
    from_environment = f" Environment variable: `{option.envvar}`." if option.envvar else ""
    repeated = " May be repeated." if option.multiple and "repeated" not in help_text else ""
    return [names + metavar, help_text + repeated + from_environment, default]


def _record(name: str, schema: dict[str, Any]) -> str:
    description = schema.get("description", "").strip()
    return "\n\n".join([f"### {name}", description, _keys(schema)])


def _keys(schema: dict[str, Any], leave_out: Iterable[str] = ()) -> str:
    rows = [
        [f"`{key}`", _type(value), value.get("description", "")]
        for key, value in schema["properties"].items()
        if key not in leave_out
    ]
    return _table(["key", "value", "meaning"], rows)


def _type(schema: dict[str, Any]) -> str:
    """What a value is, in words, with its range."""
    if "$ref" in schema:
        return _link(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema:
        return " or ".join(map(_type, schema["anyOf"]))
    if values := schema.get("enum") or ([schema["const"]] if "const" in schema else []):
        return ", ".join(map(_value, values))
    kind = schema.get("type", "any")
    inner = {"array": schema.get("items"), "object": schema.get("additionalProperties")}.get(kind)
    of = f" of {_type(inner)}" if isinstance(inner, dict) and inner else ""
    names = {
        "array": "list",
        "object": "table",
        "integer": "whole number",
        "boolean": "true or false",
        "string": "text",
        "any": "any value",
    }
    return " ".join([names.get(kind, kind) + of, *_range(schema)])


def _link(record: str) -> str:
    """A record's name, with a link to its table if it has one."""
    from tledge import records

    return f"[{record}](records.md#{record.lower()})" if hasattr(records, record) else f"`{record}`"


def _range(schema: dict[str, Any]) -> Iterator[str]:
    """The bounds of a number, if they say more than what its type can hold."""
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    for key, sign in signs.items():
        bound = schema.get(key)
        if bound is not None and abs(bound) < 1e12:
            yield f"{sign} {bound:g}"


def _value(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`"


def _preset(augment: BaseModel) -> str:
    """The name of an augmentation."""
    from tledge.training.augmentation_settings import PRESETS

    return next((f"`{name}`" for name, preset in PRESETS.items() if preset == augment), "its own")


def _first_line(documented: type) -> str:
    return (documented.__doc__ or "").strip().splitlines()[0]


def _table(columns: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; a bar inside of a cell would end it."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in lines
    )
