"""The labelled photos of a data set are streamed here: decoded some ahead, or taken from the pixel cache."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from tledge.ahead import ahead
from tledge.datasets import Photo, Source
from tledge.datasets.caches import content_key, fingerprint_cache, pixel_cache
from tledge.datasets.unreadable import SkippedPhotos
from tledge.errors import InputError, unknown
from tledge.near_copies import Fingerprints, fingerprint
from tledge.preprocessing import Pixels, Preparation, UnreadableImage
from tledge.printable import counted
from tledge.records import SkippedPhoto
from tledge.resizing import SQUEEZE

Part = Literal["all", "train", "validation", "test"]


@dataclass(frozen=True)
class Entry:
    """An entry holds a photo's id, the name of its class in the data set, and the SHA-256 of its content.

    ``fingerprint`` is uint8 (256,), and None where it was not asked for.
    """

    id: str
    label: str
    key: bytes
    fingerprint: Fingerprints | None = None


class Labelled:
    """A ``Labelled`` reads the photos of a source, or of one split that the source itself has.

    ``skipped`` grows while the photos are read. ``preparation`` says how photos become pixels. Raises InputError for an
    unknown split.
    """

    def __init__(self, source: Source, split: str, preparation: Preparation) -> None:
        if split not in get_args(Part):
            raise unknown("split", split, get_args(Part))
        self.source = source
        self._unreadable = SkippedPhotos(source.spec)
        self.split, self.preparation = split, preparation
        self._damaged: list[str] = []
        self._source_splits: set[str] = set()

    @property
    def skipped(self) -> list[SkippedPhoto]:
        """Return the photos that could not be read so far."""
        return self._unreadable.skipped

    def photos(
        self, size: int, is_chosen: Callable[[bytes], bool] = lambda key: True, *, fingerprinted: bool = False
    ) -> Generator[tuple[Entry, Pixels], None, None]:
        """Yield every readable photo of the split, with uint8 pixels (size, size, 3).

        ``is_chosen`` takes the SHA-256 of a photo's content, and chooses the photos to read. ``fingerprinted`` asks for
        their fingerprints too.
        """
        cached = pixel_cache(size, self.preparation)
        is_squeezed = self.preparation.resize == SQUEEZE
        cached_fingerprints = fingerprint_cache(size, self.preparation) if fingerprinted and not is_squeezed else None

        def kept(key: bytes) -> tuple[Pixels, Fingerprints | None] | None:
            if (found := cached.whole(key)) is None:
                return None
            pixels = np.asarray(found, np.uint8)
            if cached_fingerprints is None:
                return pixels, fingerprint(pixels) if fingerprinted else None
            own = cached_fingerprints.whole(key)
            return None if own is None else (pixels, np.asarray(own, np.uint8))

        def attempt(photo: Photo, key: bytes) -> tuple[Pixels, Fingerprints | None] | UnreadableImage:
            if (found := kept(key)) is not None:
                return found
            others = (SQUEEZE,) if cached_fingerprints is not None else ()
            prepared = photo.prepared(size, self.preparation, others)
            if isinstance(prepared, UnreadableImage):
                return prepared
            if key in cached and cached.whole(key) is None:
                self._damaged.append(photo.id)
                cached.rewrite(key, prepared.pixels)
            squeezed = prepared.others[0] if others else prepared.pixels
            return prepared.pixels, fingerprint(squeezed) if fingerprinted else None

        def work(item: tuple[Photo, bytes]) -> tuple[Entry, Pixels | UnreadableImage]:
            photo, key = item
            found, label = attempt(photo, key), self.source.labels[photo.label]
            if isinstance(found, UnreadableImage):
                return Entry(photo.id, label, key), found
            return Entry(photo.id, label, key, found[1]), found[0]

        for entry, outcome in ahead(work, self._selected(is_chosen), lambda item: item[0].num_bytes):
            if isinstance(outcome, UnreadableImage):
                self._unreadable.add(entry.id, outcome)
            else:
                yield entry, outcome

    def _selected(self, is_chosen: Callable[[bytes], bool]) -> Iterator[tuple[Photo, bytes]]:
        for photo in self.source.photos():
            if photo.source_split:
                self._source_splits.add(photo.source_split)
            if self.split in ("all", photo.source_split) and is_chosen(key := content_key(photo)):
                yield photo, key
            del photo  # it may be large, and so may be the next

    def warnings(self, num_read: int) -> list[str]:
        """Return warnings of photos that could not be read, and of those that were damaged in the cache.

        ``num_read`` is the number of photos that were read. Raises InputError as :meth:`SkippedPhotos.warning` does.
        """
        warning = self._unreadable.warning(num_read)
        damaged = (
            f"{counted(len(self._damaged), 'photo', 'was', 'were')} damaged in the cache: read again"
            if self._damaged
            else None
        )
        return [one for one in (damaged, warning) if one is not None]

    def nothing(self) -> InputError:
        """Make the error for a data set that was read and has no photo in ``split``."""
        spec = self.source.spec
        if self.split == "all":
            return InputError(f"data set {spec}: no photos in it")
        own = f"Its own splits are {', '.join(sorted(self._source_splits))}" if self._source_splits else ""
        return InputError(
            f"data set {spec}: no {self.split} photo. {own or 'It has no splits of its own'}. Use --split all."
        )
