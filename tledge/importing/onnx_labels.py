"""This module finds the names of the classes in the metadata of an ONNX file, where the field's tools write them."""

from __future__ import annotations

import ast
import json
from typing import Any

_KEYS = ("names", "labels", "classes", "class_names", "categories", "id2label")
_LONGEST_TEXT = 200_000


def labels_of(model: Any, count: int) -> tuple[str, ...]:
    """Return the names of ``count`` classes in the order of the outputs; none where the file does not hold as many."""
    metadata = {entry.key.lower(): entry.value for entry in model.metadata_props}
    for key in _KEYS:
        found = _parsed(metadata.get(key, ""))
        if len(found) == count and len(set(found)) == count and all(found):
            return found
    return ()


def _parsed(text: str) -> tuple[str, ...]:
    if not text.strip() or len(text) > _LONGEST_TEXT:
        return ()
    value: Any = None
    for parse in (json.loads, ast.literal_eval):  # Ultralytics writes a dict as Python prints it
        try:
            value = parse(text)
            break
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    if isinstance(value, dict):
        by_number = {str(key): one for key, one in value.items()}
        value = [by_number.get(str(number)) for number in range(len(value))]
    if isinstance(value, list | tuple):
        return tuple(one for one in value if isinstance(one, str)) if all(isinstance(one, str) for one in value) else ()
    if value is not None:
        return ()
    between = "\n" if "\n" in text.strip() else ","
    return tuple(one.strip() for one in text.strip().split(between))
