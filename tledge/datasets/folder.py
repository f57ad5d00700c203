"""This source is a folder of class folders, or of train, validation and test folders that hold class folders."""

from __future__ import annotations

import itertools
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tledge.datasets.photo_source import Photo, Source
from tledge.errors import InputError
from tledge.outputs import holds_only_output, is_output, walk
from tledge.photo_files import is_photo_name, read_photo
from tledge.preprocessing import UnreadableImage
from tledge.printable import counted, few
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
# Annotations, tables and notes lie beside photos in many data sets. What else can't be read may be a photo that is missed.
_NO_PHOTO_SUFFIXES = frozenset(
    {
        *(".txt", ".md", ".rst", ".log", ".ini", ".cfg", ".toml", ".yaml", ".yml", ".json", ".jsonl", ".xml", ".csv"),
        *(".tsv", ".html", ".htm", ".pdf", ".doc", ".docx", ".xls", ".xlsx", ".py", ".ipynb", ".sh", ".xmp", ".aae"),
        *(".npy", ".npz", ".mat", ".pkl", ".db", ".md5", ".sha256"),
    }
)
_MOST_ENTRIES = 100  # of a folder that nobody named: it may be the root of a disk
_DEEPEST = 5  # folders inside each other in which class folders are looked for, to say what was probably meant


class Folder:
    """A ``Folder`` gives the photos below a folder. A file that can't be read is given, too, as an unreadable photo."""

    def __init__(
        self,
        root: Path,
        labels: tuple[str, ...],
        files: list[tuple[Path, int, SplitName | None]],
        notes: tuple[str, ...] = (),
        warnings: tuple[str, ...] = (),
    ) -> None:
        self.spec = str(root.resolve())  # later stages may run in another working directory
        self.name = root.resolve().name
        self.labels = labels
        self.num_photos = len(files)
        counts = Counter(label for _, label, _ in files)
        self.class_counts: tuple[int, ...] | None = tuple(counts[number] for number in range(len(labels)))
        self.notes, self.warnings = notes, warnings
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
        raise InputError(f"data set folder {_text(root)}: {_why_no_folder(root)}")
    if _text(root.resolve()) != root.resolve().as_posix():
        raise InputError(f"data set folder {_text(root)}: its path is not UTF-8, so no record can hold it. Rename it.")
    if is_output(root):
        raise InputError(
            f"data set folder {_text(root)}: tledge itself wrote it, and it is no data. Give another folder."
        )
    outputs: list[Path] = []
    children = _subfolders(root, outputs)
    splits = _splits(root, children)
    parents: dict[Path, SplitName | None] = {**splits} or {root: None}
    classes = [
        (folder, split)
        for parent, split in parents.items()
        for folder in _class_folders(parent, children if parent == root else _subfolders(parent, outputs))
    ]
    if not classes:
        raise _no_classes(root, splits, outputs)
    labels = tuple(sorted({_label(folder) for folder, _ in classes}))
    number = {label: i for i, label in enumerate(labels)}
    found = [(path, number[_label(folder)], split) for folder, split in classes for path in _files(folder, outputs)]
    files = [one for one in found if one[0].suffix.lower() not in _NO_PHOTO_SUFFIXES]
    for parent, split in splits.items():
        if not any(place == split for _, _, place in files):
            raise InputError(f"{_text(parent)}: {_why_no_photos(parent)}")
    no_photos = [path for path, _, _ in found if path.suffix.lower() in _NO_PHOTO_SUFFIXES]
    warnings = _warnings(root, tuple(parents), [folder for folder, _ in classes], no_photos, outputs)
    return Folder(root, labels, files, _notes(splits), tuple(warnings))


def meant_instead(root: Path) -> Path | None:
    """Return the folder of class folders that was probably meant by ``root``: one below it, or the one that it is in.

    The folders on the way down are the only ones that hold photos. None says that there is no such folder.
    """
    below = root
    for _ in range(_DEEPEST):
        inner = _with_photos(below)
        if len(inner) != 1:
            break
        below = inner[0]
    if below != root and len(inner) > 1:
        return below
    above = root.resolve().parent
    is_class = _holds_photos_itself(root) and not _with_photos(root)
    if not is_class or len(_classes_in(above)) < 2:
        return None
    is_split = above.name.lower() in _SPLIT_FOLDERS
    return (
        above.parent
        if is_split and sum(one.name.lower() in _SPLIT_FOLDERS for one in _some_in(above.parent)) > 1
        else above
    )


def _classes_in(folder: Path) -> list[Path]:
    """Return the folders in a folder that hold a photo themselves, of which only some entries are looked at.

    It is asked of a folder that nobody named, such as the root of the disk or a home folder.
    """
    inner = [path for path in _some_in(folder) if path.is_dir() and _is_visible(path.name)]
    return [path for path in inner if any(map(_is_photo, _some_in(path)))]


def _some_in(folder: Path) -> list[Path]:
    """List some entries of a folder, and none of one that can't be read."""
    try:
        return list(itertools.islice(folder.iterdir(), _MOST_ENTRIES))
    except OSError:
        return []


def did_you_mean(root: Path) -> str:
    """Ask after the folder that was probably meant, as text to put behind a sentence. It is empty where there is none."""
    meant = meant_instead(root)
    return f" Did you mean {_spelled(meant)}?" if meant else ""


def _spelled(path: Path) -> str:
    """Write a path so that it can be given for a data set, from the working directory where it is below that."""
    absolute, here = path.resolve(), Path.cwd()
    return _text(f"./{absolute.relative_to(here)}" if absolute.is_relative_to(here) else absolute)


def _splits(root: Path, children: Sequence[Path]) -> dict[Path, SplitName]:
    """Return which folders are splits by their names. Raises InputError where they can't be splits of one data set."""
    splits = {child: _SPLIT_FOLDERS[child.name.lower()] for child in children if child.name.lower() in _SPLIT_FOLDERS}
    names = ", ".join(child.name for child in splits)
    are = "is taken for a split" if len(splits) == 1 else "are taken for splits"
    if splits and len(splits) != len(children):
        others = few([_text(child.name) for child in children if child not in splits], ", ")
        raise InputError(
            f"{_text(root)}: {names} {are} by name, and other folders stand beside: {others}. Where all are splits or "
            f"none is needed, move the others away. {_as_classes(splits)}"
        )
    if splits and "train" not in splits.values():
        raise InputError(
            f"{_text(root)}: {names} {are} by name, and there is no train folder. Add one. {_as_classes(splits)}"
        )
    if len(set(splits.values())) != len(splits):
        raise InputError(f"{_text(root)}: two folders mean the same split ({names}). Keep one. {_as_classes(splits)}")
    seen: dict[Path, Path] = {}
    for folder in splits:
        if (other := seen.setdefault(folder.resolve(), folder)) != folder:
            raise InputError(
                f"{_text(root)}: {other.name} and {folder.name} are the same folder, {_text(folder.resolve())}. Each split needs "
                "photos of its own."
            )
    return splits


def _as_classes(splits: Mapping[Path, SplitName]) -> str:
    """Say how folders that are named like splits are taken for classes."""
    first = next(iter(splits))
    return f"Where {first.name} is a class, rename it, or put all class folders into a new folder {first.parent / 'train'}."


def _notes(splits: Mapping[Path, SplitName]) -> tuple[str, ...]:
    """Tell how folders were taken that are named like splits."""
    if not splits:
        return ()
    taken = [folder.name if folder.name == split else f"{folder.name} as {split}" for folder, split in splits.items()]
    return (f"folders taken for splits by their names: {', '.join(taken)}. {_as_classes(splits)}",)


def _warnings(
    root: Path, parents: tuple[Path, ...], classes: list[Path], no_photos: list[Path], outputs: list[Path]
) -> Iterator[str]:
    """Yield what is doubtful about a folder, and what of it is left out."""
    if outputs:
        yield f"left out what tledge itself wrote: {', '.join(_text(path.relative_to(root)) for path in outputs)}"
    if no_photos:
        kinds = Counter(path.suffix.lower() for path in no_photos)
        listed = ", ".join(f"{count:,} {suffix}" for suffix, count in sorted(kinds.items()))
        yield f"left out {counted(len(no_photos), 'file')} beside the photos, by their names no photos: {listed}"
    # A licence or a table beside the class folders is usual; a photo there was probably meant to count.
    beside = [path for parent in parents for path in sorted(parent.iterdir()) if _is_photo(path)]
    if beside:
        yield (
            f"left out {counted(len(beside), 'photo', 'that lies', 'that lie')} beside the class folders, and so in no class: "
            f"{few([_text(path) for path in beside])}"
        )
    names: dict[str, set[str]] = {}
    for folder in classes:
        names.setdefault(_label(folder), set()).add(folder.name)
    if several := [label for label, found in names.items() if len(found) > 1]:
        yield (
            f"some class folders have the same name in two forms of Unicode (NFC and NFD), and are one class: "
            f"{few(several, ', ')}"
        )
    if len(parents) == 1 and all(len(_with_photos(one)) > 1 and not _holds_photos_itself(one) for one in classes):
        yield (
            f"the class folders hold no photo themselves, only folders of photos: {few([_text(one.name) for one in classes], ', ')}"
            f". Where those inner folders are the classes, give one of these, such as {_spelled(classes[0])}."
        )


def _no_classes(root: Path, splits: Mapping[Path, SplitName], outputs: list[Path]) -> InputError:
    if splits:
        names = ", ".join(folder.name for folder in splits)
        return InputError(
            f"{_text(root)}: its folders are taken for splits by their names ({names}), and hold no class folders. "
            f"Expected {_text(next(iter(splits)))}/<class>/<photo>. {_as_classes(splits)}"
        )
    but = f" but what tledge itself wrote ({', '.join(_text(path.name) for path in outputs)})" if outputs else ""
    return InputError(
        f"{_text(root)}: no class folders{but}.{did_you_mean(root)} Expected {_text(root)}/<class>/<photo>, one folder a class."
    )


def _why_no_folder(path: Path) -> str:
    if path.is_symlink() and not path.exists():
        return f"{_dead_link(path)}."
    return "not a folder" if path.exists() else "no such folder"


def _why_no_photos(split_folder: Path) -> str:
    if _holds_photos_itself(split_folder):
        return "a split folder with photos and no class folders. Put each photo into a folder of its class."
    return "a split folder without photos. Fill it or remove it."


def _dead_link(path: Path) -> str:
    return f"a link that leads nowhere, to {_text(path.readlink())}. Restore that, or remove the link"


def _holds_photos_itself(folder: Path) -> bool:
    return any(_is_photo(path) for path in folder.iterdir())


def _is_photo(path: Path) -> bool:
    return is_photo_name(path) and path.is_file()


def _with_photos(folder: Path) -> list[Path]:
    """Return the visible folders in a folder that hold a photo, or a folder that does, and so on."""

    def holds_one(inner: Path) -> bool:
        walked = walk(inner, _is_visible, lambda error: None)
        return any(is_photo_name(Path(name)) for one in walked for name in one.files)

    found = sorted(path for path in folder.iterdir() if path.is_dir() and _is_visible(path.name))
    return [path for path in found if not is_output(path) and holds_one(path)]


def _label(folder: Path) -> str:
    """Return the class of a folder: its name in NFC, as systems write one name in several forms of Unicode."""
    return unicodedata.normalize("NFC", _text(folder.name))


def open_any(root: Path) -> Source:
    """List every file below a folder, whatever its shape. The photos have no class, and all are labelled 0.

    Raises InputError for a folder that holds no file.
    """
    outputs: list[Path] = []
    files: list[tuple[Path, int, SplitName | None]] = [(path, 0, None) for path in _files(root, outputs)]
    if not files:
        raise InputError(f"folder {_text(root)}: no file in it")
    return Folder(root, ("",), files, (), ())


def _text(path: Path | str) -> str:
    """Write a path as text that any record can hold. Bytes that are no UTF-8 are written as ``\\xNN``."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _is_visible(name: str) -> bool:
    # Thumbs.db and desktop.ini are put there by Windows, .DS_Store by macOS: no photos anyone lost.
    return not name.startswith(".") and name not in ("Thumbs.db", "desktop.ini", "__MACOSX")


def _subfolders(folder: Path, outputs: list[Path]) -> list[Path]:
    """Return the visible folders in a folder, without those that tledge wrote, which are added to ``outputs``.

    Raises InputError for a folder that can't be listed, and for a link to a folder that is gone.
    """
    try:
        inside = sorted(path for path in folder.iterdir() if _is_visible(path.name))
    except OSError as error:
        raise InputError(f"data set folder {_text(folder)}: can't be read ({error.strerror})") from error
    for path in inside:
        is_file = is_photo_name(path) or path.suffix.lower() in _NO_PHOTO_SUFFIXES
        if path.is_symlink() and not path.exists() and not is_file:
            raise InputError(f"{_text(path)}: {_dead_link(path)}.")
    found = [path for path in inside if path.is_dir()]
    outputs += [path for path in found if holds_only_output(path, _is_visible)]
    return [path for path in found if path not in outputs]


def _class_folders(parent: Path, folders: list[Path]) -> list[Path]:
    for folder in folders:
        if parent.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"{_text(folder)}: a link to a folder that it is in, not a class. Remove the link.")
    return folders


def _files(folder: Path, outputs: list[Path]) -> list[Path]:
    def refuse(error: OSError) -> None:
        raise InputError(f"data set folder {_text(str(error.filename))}: can't be read ({error.strerror})") from error

    found = []
    for walked in walk(folder, _is_visible, refuse):
        linked = [_text(path) for name in walked.folders if (path := walked.folder / name).is_symlink()]
        if linked:
            raise InputError(
                f"{', '.join(linked)}: a link to a folder inside a class. Put the photos there, or remove the link."
            )
        found += [walked.folder / name for name in walked.files]
        outputs += walked.outputs
    return found
