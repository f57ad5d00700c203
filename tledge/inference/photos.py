"""Photos that have no data set yet: found by file, by folder or on standard input, and decoded as everywhere."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from tledge.errors import InputError
from tledge.preprocessing import Pixels, UnreadableImage, decode, resize, to_rgb

T = TypeVar("T")
R = TypeVar("R")

STDIN = "-"
# Of the formats that tledge.preprocessing decodes, as Pillow registers them.
PHOTO_SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".png", ".apng", ".gif"),
        *(".bmp", ".webp", ".tif", ".tiff", ".avif", ".avifs", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
        *(".tga", ".icb", ".vda", ".vst"),
    }
)
_LEFT_BY_SYSTEMS = ("Thumbs.db", "desktop.ini", "__MACOSX")  # no photos that anyone lost
MAX_FILE_BYTES = 2**30  # a larger file is no photo of at most 100 million pixels, and would fill the memory
_DECODE_THREADS = 2  # Pillow frees the interpreter lock while it decodes
_WINDOW = 64  # photos in flight: bounds the memory


@dataclass
class Found:
    """``photos``: files, or ``-``, in the order to answer them. ``skipped``: what lay in a folder and is no photo by its name."""

    photos: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def find(names: Sequence[str | Path]) -> Found:
    """Files as they are named, whatever their suffix; folders with all that is below them, in the order of their paths.

    In folders a photo is known by its suffix, and hidden files are left alone; links to folders are not followed.
    Raises InputError where there is no photo at all, where a folder can't be listed, or for a second ``-``.
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
        passed_over = f"; no photos by their names: {few(list(map(text, found.skipped)))}" if found.skipped else ""
        raise InputError(f"no photo in {', '.join(text(str(name)) for name in names)}{passed_over}")
    return found


def _walk(root: str, found: Found) -> None:
    def refuse(error: OSError) -> None:
        raise InputError(f"folder {text(str(error.filename))}: can't be read ({error.strerror})") from error

    for parent, folders, files in os.walk(root, onerror=refuse):
        folders[:] = sorted(filter(_is_visible, folders))
        found.skipped += [path for name in folders if Path(path := str(Path(parent, name))).is_symlink()]
        for name in sorted(filter(_is_visible, files)):
            is_photo = Path(name).suffix.lower() in PHOTO_SUFFIXES
            (found.photos if is_photo else found.skipped).append(str(Path(parent, name)))


def _is_visible(name: str) -> bool:
    return not name.startswith(".") and name not in _LEFT_BY_SYSTEMS


def text(path: str) -> str:
    """A path as text that any record can hold: bytes that are no UTF-8 are written as ``\\xNN``."""
    return os.fsencode(path).decode(errors="backslashreplace")


def few(items: Sequence[str]) -> str:
    """The first five, and how many more there are."""
    return "; ".join([*items[:5], *([f"and {len(items) - 5} more"] if len(items) > 5 else [])])


def read(photo: str) -> bytes:
    """The bytes of a file, or of standard input for ``-``. Raises UnreadableImage where there are none to read."""
    if photo == STDIN:
        if sys.stdin is None:
            raise UnreadableImage("standard input is closed")
        data = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
    else:
        path = Path(photo)
        if not path.is_file():  # reading a pipe or a device need not end
            raise UnreadableImage("no regular file; use - for a pipe" if path.exists() else "no such file")
        try:
            with path.open("rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise UnreadableImage(error.strerror or type(error).__name__) from error
    if len(data) > MAX_FILE_BYTES:
        raise UnreadableImage(f"more than {MAX_FILE_BYTES >> 30} GiB")
    return data


def pixels(data: bytes | npt.NDArray[np.uint8], size: int) -> Pixels:
    """An encoded photo, or uint8 (H, W) or (H, W, C), to uint8 RGB (size, size, 3). Raises UnreadableImage."""
    return resize(decode(data) if isinstance(data, bytes) else to_rgb(data), size)


def ahead(work: Callable[[T], R], items: Iterable[T]) -> Generator[tuple[T, R | UnreadableImage], None, None]:
    """Every item in order with what ``work`` makes of it, or why it is no photo; threads work some items ahead."""

    def attempt(item: T) -> R | UnreadableImage:
        try:
            return work(item)
        except UnreadableImage as error:
            return error

    pending: deque[tuple[T, Future[R | UnreadableImage]]] = deque()
    with ThreadPoolExecutor(_DECODE_THREADS) as pool:
        try:
            for item in items:
                pending.append((item, pool.submit(attempt, item)))
                if len(pending) >= _WINDOW:
                    first, future = pending.popleft()
                    yield first, future.result()
            for item, future in pending:
                yield item, future.result()
        finally:  # who asked may have stopped: nothing more is decoded for nobody
            pool.shutdown(cancel_futures=True)
