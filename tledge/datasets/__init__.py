"""A data set spec becomes a stream of labelled photos. One source is one file of this package."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tledge import preprocessing
from tledge.errors import InputError
from tledge.pixel_range import PixelRange
from tledge.preprocessing import PreparedPhoto, UnreadableImage
from tledge.records import SplitName


@dataclass(frozen=True)
class Photo:
    """One example as its source gives it: encoded bytes, uint8 pixels (H, W) or (H, W, C), or why it can't be read."""

    id: str
    label: int
    source_split: SplitName | None
    data: bytes | npt.NDArray[np.uint8] | UnreadableImage

    @property
    def num_bytes(self) -> int:
        """What it holds in memory."""
        if isinstance(self.data, UnreadableImage):
            return 0
        return len(self.data) if isinstance(self.data, bytes) else self.data.nbytes

    def prepared(self, size: int, pixel_range: PixelRange | None) -> PreparedPhoto | UnreadableImage:
        """What :func:`tledge.preprocessing.prepare_photo` makes of it, or why it can't be read."""
        if isinstance(self.data, UnreadableImage):
            return self.data
        try:
            return preprocessing.prepare_photo(self.data, size, pixel_range)
        except UnreadableImage as error:
            return error


class Source(Protocol):
    """Where labelled photos come from. ``photos`` may be called again and gives the same order."""

    spec: str
    name: str
    labels: tuple[str, ...]
    num_photos: int
    warnings: tuple[str, ...]  # what was found and is not part of the data set

    def photos(self) -> Iterator[Photo]:
        """Every photo, one at a time: a data set larger than memory streams through."""


def open_source(spec: str) -> Source:
    """The source of a spec: ``digits``, a folder, or a TensorFlow Datasets name with an optional ``:version``.

    A spec with a path separator, or that starts with ``.`` or ``~``, is a folder. A plain name that is
    also a folder here is refused rather than guessed; ``tfds:NAME`` always means TensorFlow Datasets.
    Raises InputError for what nobody knows, EnvironmentFault where data would have to be downloaded and can't be.
    """
    from tledge.datasets import digits, folder, tfds

    if spec.startswith("tfds:"):
        return tfds.open_tfds(spec.removeprefix("tfds:"))
    path = Path(spec).expanduser()
    looks_like_path = os.sep in spec or spec.startswith((".", "~"))
    if looks_like_path and (path.exists() or spec.startswith((".", "~", os.sep)) or not tfds.is_known(spec)):
        return folder.open_folder(path)
    if not spec:
        raise InputError("an empty data set name; give a folder, digits, or a TensorFlow Datasets name")
    known = spec == digits.NAME or tfds.is_known(spec)
    if path.is_dir():
        if known:
            raise InputError(f"{spec!r} is a data set and also a folder here; write ./{spec} or tfds:{spec}")
        return folder.open_folder(path)
    return digits.open_digits() if spec == digits.NAME else tfds.open_tfds(spec)
