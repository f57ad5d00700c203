"""This module reads the class names that the field's tools write into the metadata of an ONNX file."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from typing import Any

_KEYS = ("names", "labels", "classes", "class_names", "categories", "id2label")
_MOST_CHARACTERS = 1_000_000


def class_names_in(model: Any) -> Iterator[list[str]]:
    """Yield the lists of names in the metadata of an ONNX model, each in the order of the outputs.

    The entries that usually hold them are read, as JSON, as a literal of Python, or as text with commas or line ends between.
    """
    metadata = {entry.key.lower(): entry.value for entry in model.metadata_props}
    for key in _KEYS:
        text = metadata.get(key, "")
        if len(text) <= _MOST_CHARACTERS and (names := names_of(_value(text))):
            yield names


def names_of(value: Any) -> list[str] | None:
    """Return a list of names, or the names of a dictionary from number to name by number; None for anything else."""
    if isinstance(value, dict):
        try:
            value = [value[key] for key in sorted(value, key=int)]
        except (ValueError, TypeError):
            return None
    return list(value) if isinstance(value, list | tuple) and all(isinstance(name, str) for name in value) else None


def _value(text: str) -> Any:
    for read in (json.loads, ast.literal_eval):  # Ultralytics writes a dict as Python prints it
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
    between = "\n" if "\n" in text.strip() else ","
    return [part.strip() for part in text.split(between) if part.strip()]
