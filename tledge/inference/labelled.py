"""The labelled photos of a data set as a stream: decoded some ahead, or taken from the pixel cache."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from tledge.datasets import Photo, Source
from tledge.datasets.prepare import MAX_SKIPPED_SHARE, content_key, pixel_cache
from tledge.errors import InputError, unknown
from tledge.inference.photos import ahead, few, pixels
from tledge.preprocessing import Pixels, UnreadableImage
from tledge.records import SkippedPhoto

Part = Literal["all", "train", "validation", "test"]


@dataclass(frozen=True)
class Entry:
    """A photo's id, the name of its class, and the SHA-256 of its content."""

    id: str
    label: str
    key: bytes


class Labelled:
    """The photos of a source, or of one split that the source itself has. ``skipped`` grows while they are read.

    Raises InputError for an unknown split.
    """

    def __init__(self, source: Source, split: str) -> None:
        if split not in get_args(Part):
            raise unknown("split", split, get_args(Part))
        self.source = source
        self.skipped: list[SkippedPhoto] = []
        self.split = split
        self._source_splits: set[str] = set()

    def photos(
        self, size: int, is_chosen: Callable[[bytes], bool] = lambda key: True
    ) -> Generator[tuple[Entry, Pixels], None, None]:
        """Every readable photo that ``is_chosen`` by the SHA-256 of its content, with uint8 pixels (size, size, 3)."""
        cached = pixel_cache(size)

        def work(item: tuple[Photo, bytes]) -> Pixels:
            photo, key = item
            return np.asarray(cached.rows([key])[0], np.uint8) if key in cached else pixels(photo.data, size)

        for (photo, key), outcome in ahead(work, self._selected(is_chosen)):
            if isinstance(outcome, UnreadableImage):
                self.skipped.append(SkippedPhoto(id=photo.id, reason=str(outcome)))
            else:
                yield Entry(photo.id, self.source.labels[photo.label], key), outcome

    def _selected(self, is_chosen: Callable[[bytes], bool]) -> Iterator[tuple[Photo, bytes]]:
        for photo in self.source.photos():
            if photo.source_split:
                self._source_splits.add(photo.source_split)
            if self.split in ("all", photo.source_split) and is_chosen(key := content_key(photo)):
                yield photo, key

    def warnings(self, num_read: int) -> list[str]:
        """What could not be read. Raises InputError where that is over 5%."""
        if not self.skipped:
            return []
        total = num_read + len(self.skipped)
        shown = few([f"{photo.id} ({photo.reason})" for photo in self.skipped])
        problem = f"{len(self.skipped)} of {total} photos can't be read"
        if len(self.skipped) > MAX_SKIPPED_SHARE * total:
            raise InputError(
                f"data set {self.source.spec}: {problem}, over {MAX_SKIPPED_SHARE:.0%}: {shown}. Repair or remove them."
            )
        return [f"skipped: {problem}: {shown}"]

    def nothing(self) -> InputError:
        """The error for no photo at all, once they were read."""
        spec = self.source.spec
        if self.split == "all":
            return InputError(f"data set {spec}: no photos in it")
        own = f"its own splits are {', '.join(sorted(self._source_splits))}" if self._source_splits else ""
        return InputError(
            f"data set {spec}: no {self.split} photo; {own or 'it has no splits of its own'}. Use --split all."
        )
