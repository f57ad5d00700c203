"""Formats are found by their files and chosen by their names, and options are checked against them."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Collection, Iterable
from dataclasses import fields

from tledge.errors import InputError, unknown
from tledge.exporters.format import ANY_BATCH, ONE_PHOTO, ConverterInput, Format
from tledge.exporters.options import Options
from tledge.records import MIXED_SUFFIX

ALL = "all"


def formats() -> dict[str, Format]:
    """Find every format by its name. A new family's file is found by its ``FORMATS``.

    The families come in the reverse alphabetical order of their files: TFLite before ONNX.
    """
    package = importlib.import_module(__package__)
    found: dict[str, Format] = {}
    for module_info in sorted(pkgutil.iter_modules(package.__path__), key=lambda info: info.name, reverse=True):
        module = importlib.import_module(f"{__package__}.{module_info.name}")
        for form in getattr(module, "FORMATS", ()):
            found[form.name] = form
    return found


def mixed_formats() -> dict[str, Callable[[ConverterInput], Format]]:
    """Find the functions that make the mixed variant of an integer format, by the name of that format.

    A variant belongs to one model, for its options declare the operators that stay float in that model.
    """
    package = importlib.import_module(__package__)
    modules = (importlib.import_module(f"{__package__}.{info.name}") for info in pkgutil.iter_modules(package.__path__))
    return {name: make for module in modules for name, make in getattr(module, "MIXED", {}).items()}


def chosen(names: list[str]) -> list[Format]:
    """Return the formats of these names, each once. ``all`` stands for every format that is not made on request only.

    Raises InputError for an unknown name; the error says which known name is nearest.
    """
    known = formats()
    for name in names:
        if name != ALL and name not in known:
            searched = [form for form in mixed_formats() if f"{form}{MIXED_SUFFIX}" == name]
            hint = f"A mixed file is what a search makes: --format {searched[0]} --max-drop POINTS." if searched else ""
            raise unknown("format", name, [*known, ALL], hint)
    usual = [name for name, form in known.items() if not form.on_request] if ALL in names else []
    return [known[name] for name in dict.fromkeys([*usual, *names]) if name != ALL]


def require_batch(forms: Collection[Format], batch: str) -> None:
    """Raise InputError where ``batch`` is neither ``1`` nor ``any``, or the files of some formats can't take it.

    The error names these formats, and says why each takes one photo.
    """
    if batch not in (ONE_PHOTO, ANY_BATCH):
        raise InputError(f"--batch {batch}: use {ONE_PHOTO} or {ANY_BATCH}")
    refusing = {form.name: form.one_photo for form in forms if form.one_photo and batch == ANY_BATCH}
    if refusing:
        reasons = [
            f"{', '.join(name for name, own in refusing.items() if own == reason)}: {reason}"
            for reason in dict.fromkeys(refusing.values())
        ]
        able = ", ".join(form.name for form in formats().values() if not form.one_photo)
        raise InputError(
            f"--batch {batch} is for {able}. {'. '.join(reasons)}. Leave these formats out, or --batch {batch}"
        )


def require_readers(options: Options, forms: Iterable[Format]) -> None:
    """Raise InputError where the user gave an option that no format among ``forms`` reads in its preparation."""
    read = {name for form in forms if form.preparation for name in form.preparation.reads}
    for option in fields(options):
        name = option.name
        readers = [one.name for one in formats().values() if one.preparation and name in one.preparation.reads]
        if readers and name not in read and getattr(options, name) is not None:
            raise InputError(f"--{name.replace('_', '-')} is for {', '.join(readers)}. Leave it out here.")
