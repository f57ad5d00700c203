"""This module says what a source of labelled photos is, and what a photo is as its source gives it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tledge import preprocessing
from tledge.preprocessing import Preparation, PreparedPhoto, UnreadableImage
from tledge.records import SplitName
from tledge.resizing import Resize


@dataclass(frozen=True)
class Photo:
    """A photo is one example as its source gives it.

    ``data`` holds encoded bytes, uint8 pixels (H, W) or (H, W, C), or why the photo can't be read. ``source_split`` is
    the split that it has in its source, or None.
    """

    id: str
    label: int
    source_split: SplitName | None
    data: bytes | npt.NDArray[np.uint8] | UnreadableImage

    @property
    def num_bytes(self) -> int:
        """Return how many bytes of memory the data takes."""
        if isinstance(self.data, UnreadableImage):
            return 0
        return len(self.data) if isinstance(self.data, bytes) else self.data.nbytes

    def prepared(
        self, size: int, preparation: Preparation, others: Sequence[Resize] = ()
    ) -> PreparedPhoto | UnreadableImage:
        """Decode and resize the photo by :func:`tledge.preprocessing.prepare_photo`, or return why it can't be read."""
        if isinstance(self.data, UnreadableImage):
            return self.data
        try:
            return preprocessing.prepare_photo(self.data, size, preparation, others)
        except UnreadableImage as error:
            return error


class Source(Protocol):
    """A source gives labelled photos. ``photos`` may be called again, and gives the same order.

    ``class_counts`` has the number of photos of each class, or more where some can't be read. It is None where only
    reading the photos tells.
    """

    spec: str
    name: str
    labels: tuple[str, ...]
    num_photos: int
    class_counts: tuple[int, ...] | None
    notes: tuple[str, ...]  # These say how the data set was taken.
    warnings: tuple[str, ...]  # These name what was found and is not part of the data set.

    def photos(self) -> Iterator[Photo]:
        """Yield every photo, one at a time, so that a data set may be larger than memory."""


class Relabelled:
    """A ``Relabelled`` source gives the photos of another one, with its labels in another order."""

    def __init__(self, source: Source, labels: tuple[str, ...]) -> None:
        self._source = source
        self.labels = labels
        self.spec, self.name, self.num_photos = source.spec, source.name, source.num_photos
        self.notes, self.warnings = source.notes, source.warnings
        self._numbers = [labels.index(label) for label in source.labels]
        counts = source.class_counts
        self.class_counts = None if counts is None else tuple(counts[source.labels.index(label)] for label in labels)

    def photos(self) -> Iterator[Photo]:
        """Yield every photo, with the new number of its label."""
        for photo in self._source.photos():
            yield replace(photo, label=self._numbers[photo.label])
