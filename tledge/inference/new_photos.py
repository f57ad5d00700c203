"""This module finds the photos that ``predict`` is given as files, folders or standard input, and reads their bytes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tledge.errors import InputError
from tledge.outputs import is_output, walk
from tledge.photo_files import is_photo_name, read_photo, read_photo_stream
from tledge.preprocessing import UnreadableImage
from tledge.printable import few

STDIN = "-"
_LEFT_BY_SYSTEMS = ("Thumbs.db", "desktop.ini", "__MACOSX")  # Systems put these there. Nobody misses them as photos.


@dataclass
class Found:
    """A ``Found`` lists the photos that a search found, and the paths that the search passed over.

    Attributes:
        photos: The files to predict, in order. ``-`` stands for standard input.
        skipped: The files in a folder whose suffix is not that of a photo, and the links to folders.
        outputs: The files and folders that tledge itself wrote, such as runs. They are passed over too.
    """

    photos: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)


def find_photos(names: Sequence[str | Path]) -> Found:
    """Find the photos that names stand for: files, whatever their suffix, and folders with all that is below them.

    In a folder a photo is known by its suffix, and the order is that of the paths. Hidden files are left alone. Links
    to folders are not followed. Raises InputError where there is no photo at all, where a folder can't be listed, or
    for a second ``-``.
    """
    found = Found()
    for name in map(str, names):
        if name != STDIN and Path(name).is_dir():
            _walk(name, found)
        elif name == STDIN and STDIN in found.photos:
            raise InputError("standard input (-) holds one photo: name it once")
        else:
            found.photos.append(name)
    if not found.photos:
        passed_over = f" No photos by their names: {few(list(map(path_text, found.skipped)))}." if found.skipped else ""
        passed_over += f" tledge itself wrote {few(list(map(path_text, found.outputs)))}." if found.outputs else ""
        raise InputError(f"no photo in {', '.join(path_text(str(name)) for name in names)}.{passed_over}")
    return found


def _walk(root: str, found: Found) -> None:
    def refuse(error: OSError) -> None:
        raise InputError(f"folder {path_text(str(error.filename))}: can't be read ({error.strerror})") from error

    if is_output(Path(root)):
        found.outputs.append(root)
        return
    for walked in walk(Path(root), _is_visible, refuse):
        paths = [str(walked.folder / name) for name in walked.folders]
        found.skipped += [path for path in paths if Path(path).is_symlink()]
        found.outputs += map(str, walked.outputs)
        for name in walked.files:
            (found.photos if is_photo_name(name) else found.skipped).append(str(walked.folder / name))


def _is_visible(name: str) -> bool:
    return not name.startswith(".") and name not in _LEFT_BY_SYSTEMS


def path_text(path: str) -> str:
    """Write a path as text that any record can hold. Bytes that are no UTF-8 are written as ``\\xNN``."""
    return os.fsencode(path).decode(errors="backslashreplace")


def read_named_photo(photo: str) -> bytes:
    """Read the bytes of a file, or of standard input for ``-``. Raises UnreadableImage where they can't be read."""
    if photo != STDIN:
        if Path(photo).is_fifo():
            raise UnreadableImage("no regular file: use - for a pipe")
        return read_photo(Path(photo))
    if sys.stdin is None:
        raise UnreadableImage("standard input is closed")
    return read_photo_stream(sys.stdin.buffer)
