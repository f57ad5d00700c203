"""This source is a folder of class folders, or of train, validation and test folders that hold class folders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from tledge.datasets.photo_source import Photo, Source
from tledge.errors import InputError
from tledge.outputs import holds_only_output, is_output, walk
from tledge.photo_files import is_photo_name, read_photo
from tledge.preprocessing import UnreadableImage
from tledge.records import SplitName

_SPLIT_FOLDERS: dict[str, SplitName] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
    "testing": "test",
}


class Folder:
    """A ``Folder`` gives the photos below a folder. A file that is no photo is given, too, as an unreadable one."""

    def __init__(
        self,
        root: Path,
        labels: tuple[str, ...],
        files: list[tuple[Path, int, SplitName | None]],
        parents: tuple[Path, ...],
        outputs: list[Path],
    ) -> None:
        self.spec = str(root.resolve())  # later stages may run in another working directory
        self.name = root.resolve().name
        self.labels = labels
        self.num_photos = len(files)
        # A licence or a table beside the class folders is usual; a photo there was probably meant to count.
        beside = tuple(
            f"{path} lies beside the class folders and belongs to no class: left out"
            for parent in parents
            for path in sorted(parent.iterdir())
            if path.is_file() and is_photo_name(path)
        )
        left_out = ", ".join(_text(path.relative_to(root)) for path in outputs)
        self.warnings = (f"left out what tledge itself wrote: {left_out}", *beside) if outputs else beside
        self._root = root
        self._files = files

    def photos(self) -> Iterator[Photo]:
        """Yield the photos in the order of their paths."""
        for path, label, split in self._files:
            data: bytes | UnreadableImage
            try:
                data = read_photo(path)
            except UnreadableImage as error:
                data = error
            yield Photo(_text(path.relative_to(self._root)), label, split, data)
            del data  # the next may be as large


def open_folder(root: Path) -> Source:
    """List the photos of a folder. Raises InputError for a folder that holds no data set."""
    if not root.is_dir():
        raise InputError(f"data set folder {root}: {'not a folder' if root.exists() else 'no such folder'}")
    if _text(root.resolve()) != root.resolve().as_posix():
        raise InputError(f"data set folder {_text(root)}: its path is not UTF-8, so no record can hold it; rename it")
    if is_output(root):
        raise InputError(
            f"data set folder {_text(root)}: tledge itself wrote it, and it is no data; give the photos' folder"
        )
    outputs: list[Path] = []
    children = _subfolders(root, outputs)
    splits = {child: _SPLIT_FOLDERS[child.name.lower()] for child in children if child.name.lower() in _SPLIT_FOLDERS}
    if splits and len(splits) != len(children):
        others = ", ".join(child.name for child in children if child not in splits)
        raise InputError(f"{root}: split folders beside other folders ({others}); keep one or the other")
    if splits and "train" not in splits.values():
        raise InputError(f"{root}: has split folders but no train folder; add one, or give the class folders alone")
    if len(set(splits.values())) != len(splits):
        raise InputError(f"{root}: two folders mean the same split ({', '.join(c.name for c in splits)}); keep one")
    parents: dict[Path, SplitName | None] = {**splits} or {root: None}
    classes = [
        (folder, split)
        for parent, split in parents.items()
        for folder in _class_folders(parent, children if parent == root else _subfolders(parent, outputs))
    ]
    labels = tuple(sorted({_text(folder.name) for folder, _ in classes}))
    if not labels:
        but = f" but what tledge itself wrote ({', '.join(_text(path.name) for path in outputs)})" if outputs else ""
        raise InputError(f"{root}: no class folders{but}. Expected {root}/<class>/<photo>, one folder a class.")
    number = {label: i for i, label in enumerate(labels)}
    files = [(path, number[_text(folder.name)], split) for folder, split in classes for path in _files(folder, outputs)]
    for parent, split in parents.items():
        if split and not any(place == split for _, _, place in files):
            raise InputError(f"{_text(parent)}: a split folder without photos; fill it or remove it")
    return Folder(root, labels, files, tuple(parents), outputs)


def open_any(root: Path) -> Source:
    """List every file below a folder, whatever its shape. The photos have no class, and all are labelled 0.

    Raises InputError for a folder that holds no file.
    """
    outputs: list[Path] = []
    files: list[tuple[Path, int, SplitName | None]] = [(path, 0, None) for path in _files(root, outputs)]
    if not files:
        raise InputError(f"folder {_text(root)}: no file in it")
    return Folder(root, ("",), files, (), outputs)


def _text(path: Path | str) -> str:
    """Write a path as text that any record can hold. Bytes that are no UTF-8 are written as ``\\xNN``."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _is_visible(name: str) -> bool:
    # Thumbs.db and desktop.ini are put there by Windows, .DS_Store by macOS: no photos anyone lost.
    return not name.startswith(".") and name not in ("Thumbs.db", "desktop.ini", "__MACOSX")


def _subfolders(folder: Path, outputs: list[Path]) -> list[Path]:
    """Return the visible folders in a folder, without those that tledge wrote, which are added to ``outputs``."""
    found = sorted(path for path in folder.iterdir() if path.is_dir() and _is_visible(path.name))
    outputs += [path for path in found if holds_only_output(path, _is_visible)]
    return [path for path in found if path not in outputs]


def _class_folders(parent: Path, folders: list[Path]) -> list[Path]:
    for folder in folders:
        if parent.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"{_text(folder)}: a link to a folder that it is in, not a class; remove the link")
    return folders


def _files(folder: Path, outputs: list[Path]) -> list[Path]:
    def refuse(error: OSError) -> None:
        raise InputError(f"data set folder {_text(str(error.filename))}: can't be read ({error.strerror})") from error

    found = []
    for walked in walk(folder, _is_visible, refuse):
        linked = [_text(path) for name in walked.folders if (path := walked.folder / name).is_symlink()]
        if linked:
            raise InputError(
                f"{', '.join(linked)}: a link to a folder inside a class; put the photos there, or remove the link"
            )
        found += [walked.folder / name for name in walked.files]
        outputs += walked.outputs
    return found
