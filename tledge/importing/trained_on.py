"""Photos on which an imported model was trained are kept out of the test split, as far as they are named."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tledge import near_copies
from tledge.datasets.prepare import Dataset
from tledge.errors import InputError
from tledge.home import expanded
from tledge.near_copies import Fingerprints
from tledge.photo_files import is_photo_name, read_photo
from tledge.preprocessing import UnreadableImage, prepare_photo
from tledge.printable import counted
from tledge.progress import Progress

_COLUMN = "content_sha256"
_MOST_LINES = 10_000_000


class Known(NamedTuple):
    """The photos of a training are known by the SHA-256 of their files, and where they were read by their fingerprints."""

    content_sha256: frozenset[bytes]
    fingerprints: Fingerprints


def without_trained_on(data: Dataset, trained_on: str, progress: Progress) -> Dataset:
    """Return the data with the photos of a training moved from the test and validation splits to the training split.

    ``trained_on`` is a folder of photos, or a CSV file with a column ``content_sha256``, such as the splits.csv of a run. A photo
    is known by its content, and of a folder also where it was encoded or resized again.

    Raises InputError where there is no such folder or file, or where no photo is left in the test split.
    """
    path = expanded(trained_on, f"--trained-on {trained_on}")
    known = _of_folder(path, data.input_size, progress) if path.is_dir() else _of_table(path)
    is_known = np.array([content in known.content_sha256 for content in data.content_sha256])
    if len(known.fingerprints):
        is_known |= near_copies.neighbours(data.fingerprints, known.fingerprints).is_copy
    rows, moved = dict(data.splits.rows), []
    for split in ("validation", "test"):
        moved.append(rows[split][is_known[rows[split]]])
        rows[split] = rows[split][~is_known[rows[split]]]
        if not len(rows[split]):
            raise InputError(
                f"--trained-on {trained_on}: every {split} photo of the data set was trained on. Give a data set with other photos."
            )
    rows["train"] = np.sort(np.concatenate([rows["train"], *moved]))
    progress.say(
        f"trained on {counted(int(is_known.sum()), 'photo')} of the data set: {len(moved[1]):,} were moved out of the test split, "
        f"{len(moved[0]):,} out of the validation split"
    )
    return replace(data, splits=replace(data.splits, rows=rows))


def _of_folder(folder: Path, input_size: int, progress: Progress) -> Known:
    contents, fingerprints = [], []
    with progress.step("reading the photos of the training") as advance:
        for path in _photos(folder):
            data = read_photo(path)
            contents.append(hashlib.sha256(data).digest())
            try:
                fingerprints.append(near_copies.fingerprint(prepare_photo(data, input_size).pixels))
            except UnreadableImage:
                continue  # nothing was trained on it
            finally:
                advance(1)
    if not contents:
        raise InputError(f"--trained-on {folder}: no photos in it. Name the folder that holds them.")
    return Known(frozenset(contents), np.array(fingerprints, np.uint8).reshape(-1, near_copies.LENGTH))


def _photos(folder: Path) -> Iterator[Path]:
    yield from (path for path in sorted(folder.rglob("*")) if is_photo_name(path) and path.is_file())


def _of_table(path: Path) -> Known:
    """Read a table. In the splits.csv of a run, the photos of the splits "train" and "validation" count."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            contents = set()
            for number, entry in enumerate(csv.DictReader(file)):
                if number >= _MOST_LINES or _COLUMN not in entry:
                    raise ValueError(f"no column {_COLUMN}")
                if entry.get("split") in (None, "train", "validation"):
                    contents.add(bytes.fromhex(entry[_COLUMN]))
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise InputError(
            f"--trained-on {path}: neither a folder of photos nor a table with a column {_COLUMN} ({error})"
        ) from error
    if not contents:
        raise InputError(f"--trained-on {path}: names no photo")
    return Known(frozenset(contents), np.empty((0, near_copies.LENGTH), np.uint8))
