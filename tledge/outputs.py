"""This module tells tledge's own files from photos in one folder: runs, caches, curves and features are no data."""

from __future__ import annotations

import contextlib
import os
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tledge.files import make_folder

CACHE_TAG = "CACHEDIR.TAG"  # backup programs look for it too: https://bford.info/cachedir/
_CACHE_SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55"
_CACHE_TEXT = _CACHE_SIGNATURE + b"\n# The cache of tledge, which makes again what it misses.\n"
MARK = ".tledge"
_MARK_TEXT = b"tledge writes its runs here. Where photos lie around this folder, it is left out of them.\n"
# The records of a run, an artifact, and an experiment that MLflow keeps in files. Their keys stand near the beginning.
_RECORDS = {"manifest.json": b'"tledge_version":', "export.json": b'"promise":', "meta.yaml": b"experiment_id:"}
_CACHED = re.compile(r"[0-9a-f]{32}\.(rows|keys)")
_CURVES = re.compile(r"events\.out\.tfevents\..*\.tledge")
_FEATURES_KEY = "tledge"  # the key of the record in a file of features
_LOOK_BYTES = 1 << 16


@dataclass(frozen=True)
class Walked:
    """This record lists a folder of a walk: its ``folders`` and ``files``, and apart from them tledge's ``outputs``."""

    folder: Path
    folders: list[str]
    files: list[str]
    outputs: list[Path]


def walk(root: Path, is_visible: Callable[[str], bool], refuse: Callable[[OSError], None]) -> Iterator[Walked]:
    """Walk a folder and those below it, in the order of their paths.

    The walk leaves out what tledge wrote, and does not follow links to folders. ``refuse`` is called with the error of
    a folder that can't be listed.
    """
    for parent, folders, files in os.walk(root, onerror=refuse):
        here = Path(parent)
        shown = sorted(filter(is_visible, folders))
        made = [name for name in shown if not (here / name).is_symlink() and is_output(here / name)]
        written = _own_files(here, files)
        folders[:] = [name for name in shown if name not in made]
        rest = sorted(name for name in files if is_visible(name) and name not in written)
        yield Walked(here, list(folders), rest, [here / name for name in (*made, *written)])


def is_output(folder: Path) -> bool:
    """Return whether tledge made a folder and all that is in it.

    Such a folder is a run, an artifact, a part of a cache, or curves for TensorBoard.
    """
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError:
        return False  # the walk reports it
    if CACHE_TAG in names and (tag := _look(folder / CACHE_TAG)).startswith(_CACHE_SIGNATURE) and b"tledge" in tag:
        return True
    if any(name in names and key in _look(folder / name) for name, key in _RECORDS.items()):
        return True
    return any(_CACHED.fullmatch(name) or _CURVES.fullmatch(name) for name in names)


def holds_only_output(folder: Path, is_visible: Callable[[str], bool]) -> bool:
    """Return whether a folder is there for what tledge wrote.

    The folder, or one below it, has tledge's mark or holds output, and there is no other file. Pages of text (``.md``)
    may be beside it.
    """
    if is_output(folder):
        return True
    is_found = False
    for walked in walk(folder, is_visible, lambda error: None):
        if any(not name.endswith(".md") for name in walked.files):
            return False
        is_found = is_found or bool(walked.outputs) or (walked.folder / MARK).is_file()
    return is_found


def make_root(folder: Path, remedy: str) -> None:
    """Make a folder of runs, and mark it if it is new: an older folder may be the user's own.

    Raises EnvironmentFault, whose message ends in ``remedy``, where it can't be made.
    """
    _make(folder, remedy, MARK, _MARK_TEXT)


def make_cache(folder: Path, remedy: str) -> None:
    """Make the folder of a cache, and tag it if it is new.

    Raises EnvironmentFault as :func:`make_root` does.
    """
    _make(folder, remedy, CACHE_TAG, _CACHE_TEXT)


def _make(folder: Path, remedy: str, name: str, text: bytes) -> None:
    is_new = not folder.exists()
    make_folder(folder, remedy)
    if is_new:
        with contextlib.suppress(FileExistsError), (folder / name).open("xb") as file:  # another process may be first
            file.write(text)


def _own_files(folder: Path, names: Sequence[str]) -> list[str]:
    """Return which of a folder's files tledge wrote.

    They are features of photos, and the name of the latest run beside the runs.
    """
    own = []
    for name in sorted(names):
        beside = f"{name.removesuffix('.npy')}.json"
        if name.endswith(".npy") and beside in names and f'"{_FEATURES_KEY}":'.encode() in _look(folder / beside):
            own += [name, beside]
        is_table = name.endswith(".parquet") and _FEATURES_KEY.encode() in _look(folder / name, from_end=True)
        if is_table or (name.endswith(".npz") and f"{_FEATURES_KEY}.npy" in _members(folder / name)):
            own.append(name)
    if "latest" in names and any(is_output(path.parent) for path in folder.glob("*/manifest.json")):
        own.append("latest")
    return own


def _look(path: Path, from_end: bool = False) -> bytes:
    """Return the first bytes of a file, or the last ones; no bytes of a file that can't be read."""
    try:
        if not path.is_file():  # reading a pipe need not end
            return b""
        with path.open("rb") as file:
            if from_end:
                file.seek(max(0, path.stat().st_size - _LOOK_BYTES))
            return file.read(_LOOK_BYTES)
    except OSError:
        return b""


def _members(path: Path) -> list[str]:
    try:
        if not path.is_file():
            return []
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile):
        return []
