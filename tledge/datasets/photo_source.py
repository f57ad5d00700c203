"""Where labelled photos come from, and one photo as its source gives it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tledge import preprocessing
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
