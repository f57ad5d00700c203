"""This module checks the paths that ``--file`` names, and gives each file the name of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tledge.errors import InputError
from tledge.printable import one_line

SUFFIXES = (".tflite", ".onnx")
_MAX_BYTES = 2**31
_WAYS_OUT = {
    ".keras": "Convert it with tf.lite.TFLiteConverter or tf2onnx, and give the file that this makes.",
    ".h5": "Convert it with tf.lite.TFLiteConverter or tf2onnx, and give the file that this makes.",
    ".pb": "Convert the SavedModel with tf.lite.TFLiteConverter, and give the file that this makes.",
    ".pt": "Write it with torch.onnx.export, and give the .onnx file.",
    ".pth": "Write it with torch.onnx.export, and give the .onnx file.",
    ".pt2": "Write it with torch.onnx.export, and give the .onnx file.",
}


def named(paths: Sequence[Path]) -> dict[str, Path]:
    """Return the files by the names of their rows, in their order.

    A name is the file's own, without its folder. Where several have one name, as many folders stand before it as tell
    them apart.

    Raises InputError for a path that is no file of at most 2 GiB, that is not .tflite or .onnx, or that is named twice.
    """
    places = {}
    for path in paths:
        _check(path)
        place = path.resolve()
        if place in places:
            raise InputError(f"--file {one_line(str(path))} is named twice: name it once")
        places[place] = path
    return {_short(place, list(places)): path for place, path in places.items()}


def _check(path: Path) -> None:
    shown = one_line(str(path))
    if path.is_dir():
        raise InputError(
            f"--file {shown} is a folder, and --file takes one .tflite or .onnx file. "
            "Convert a SavedModel with tf.lite.TFLiteConverter first."
        )
    if not path.exists():
        raise InputError(f"--file {shown}: no such file")
    if not path.is_file():
        raise InputError(f"--file {shown} is no ordinary file: name a .tflite or .onnx file")
    if path.suffix not in SUFFIXES:
        way_out = _WAYS_OUT.get(path.suffix.lower(), "Give a .tflite or .onnx file.")
        raise InputError(f"--file {shown}: this is no .tflite or .onnx file. {way_out}")
    if path.stat().st_size > _MAX_BYTES:
        raise InputError(f"--file {shown} is larger than 2 GiB, and neither format can be")


def _short(place: Path, others: Sequence[Path]) -> str:
    """Return as many of the last parts of a path as no other path ends with."""
    for count in range(1, len(place.parts)):
        name = "/".join(place.parts[-count:])
        if sum(other.parts[-count:] == place.parts[-count:] for other in others) == 1:
            return name
    return str(place)
