"""This module reads the class names that a file holds: tledge's own, TFLite's associated file, or an entry of ONNX."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tledge.audit.class_names import class_names_in, names_of
from tledge.audit.findings import printable

_MOST_BYTES = 1_000_000
_MOST_FILES = 20


def labels_inside(path: Path, metadata: bytes | None, num_classes: int) -> list[str] | None:
    """Return the class names that a file holds, or None where it holds none that can be read.

    The names are those of tledge's metadata (``metadata``), of a text file that is packed behind a TFLite model with one
    line for each output, or of an entry of an ONNX model's metadata. Names of another number are no names of the classes.
    """
    found = _plain(metadata, "labels") if metadata else None
    candidates: Iterator[list[str] | None] = iter((found,))
    for names in (*candidates, *(_packed(path) if path.suffix == ".tflite" else _of_onnx(path))):
        if names is not None and len(names) == num_classes:
            return names
    return None


def problem_of(inside: Sequence[str], labels: Sequence[str]) -> str | None:
    """Say in a sentence where the names in the file stand in another order than the run's; None where they do not.

    Names that the run does not know say nothing of the order.
    """
    if list(inside) == list(labels) or sorted(inside) != sorted(labels):
        return None
    place = next(number for number, name in enumerate(inside) if name != labels[number])
    return (
        f"its labels stand in another order: output {place} is {printable(inside[place])!r} in the file and "
        f"{labels[place]!r} in the run"
    )


def _packed(path: Path) -> Iterator[list[str]]:
    """Yield the lines of the text files that are packed behind a TFLite model, as its metadata tools do."""
    try:
        with zipfile.ZipFile(path) as packed:
            for entry in packed.infolist()[:_MOST_FILES]:
                if entry.filename.endswith(".txt") and entry.file_size <= _MOST_BYTES:
                    with packed.open(entry) as file:
                        text = file.read(_MOST_BYTES).decode("utf-8")
                    yield [line.strip() for line in io.StringIO(text) if line.strip()]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError, EOFError):
        return  # nothing is packed there, or nothing that can be read


def _of_onnx(path: Path) -> Iterator[list[str]]:
    from tledge.audit.onnx_graph import parse_onnx

    return class_names_in(parse_onnx(path.read_bytes()))


def _plain(metadata: bytes, key: str) -> list[str] | None:
    try:
        return names_of(json.loads(metadata)[key])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
