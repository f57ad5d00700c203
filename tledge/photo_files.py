"""This module reads the bytes of a photo's file within a bound of memory, and never waits for a pipe or a device."""

from __future__ import annotations

from pathlib import Path
from typing import IO

from tledge.files import read_file
from tledge.preprocessing import PHOTO_SUFFIXES, UnreadableImage

MAX_BYTES = 2**30  # a larger file is no photo of at most 100 million pixels, and would fill the memory


def is_photo_name(path: Path | str) -> bool:
    """Return whether a file is a photo by its name. Every folder is looked through by this one rule."""
    return Path(path).suffix.lower() in PHOTO_SUFFIXES


def read_photo(path: Path) -> bytes:
    """Return the bytes of a photo's file.

    Raises UnreadableImage where there is no regular file, it can't be read, or it is larger than ``MAX_BYTES``.
    """
    if not path.is_file():  # reading a pipe or a device need not end
        raise UnreadableImage("no regular file" if path.exists() else "no such file")
    try:
        return read_file(path, MAX_BYTES)
    except OSError as error:
        raise UnreadableImage(error.strerror or type(error).__name__) from error


def read_photo_stream(file: IO[bytes]) -> bytes:
    """Return the bytes of a photo from a stream whose size can't be asked for, such as a pipe.

    Raises UnreadableImage where there are more than ``MAX_BYTES``.
    """
    data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise UnreadableImage(f"more than {MAX_BYTES >> 30} GiB")
    return data
