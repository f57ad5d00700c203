"""This module handles photos that can't be read: few are left out and named; many raise InputError."""

from __future__ import annotations

from tledge.errors import InputError
from tledge.pixel_range import WHOLE, way_out
from tledge.preprocessing import UnknownRange, UnreadableImage
from tledge.printable import few
from tledge.records import SkippedPhoto

MAX_SHARE = 0.05


class SkippedPhotos:
    """The unreadable photos are collected here while a data set is read.

    ``skipped`` is what records say of the photos that are left out.
    """

    def __init__(self, spec: str) -> None:
        self.skipped: list[SkippedPhoto] = []
        self._spec = spec
        self._of_unknown_range: dict[str, int] = {}  # the highest value by the photo's id

    def add(self, photo_id: str, error: UnreadableImage) -> None:
        """Add a photo, with the reason why it can't be read."""
        self.skipped.append(SkippedPhoto(id=photo_id, reason=str(error)))
        if isinstance(error, UnknownRange):
            self._of_unknown_range[photo_id] = error.highest

    def warning(self, num_read: int) -> str | None:
        """Return what to say of the skipped photos once ``num_read`` others were read; None where none was skipped.

        Raises InputError for 16-bit photos of an unknown range, however few, and for over 5% unreadable photos.
        """
        total = num_read + len(self.skipped)
        if self._of_unknown_range:
            highest = max(self._of_unknown_range.values())
            named = few([f"{photo_id} ({value})" for photo_id, value in self._of_unknown_range.items()])
            raise InputError(
                f"data set {self._spec}: {len(self._of_unknown_range)} of {total} photos have 16 bits a channel, and no "
                f"value over {highest} of {WHOLE.high}: {named}. {way_out(highest)}"
            )
        if not self.skipped:
            return None
        named = few([f"{photo.id} ({photo.reason})" for photo in self.skipped])
        if len(self.skipped) > MAX_SHARE * total:
            raise InputError(
                f"data set {self._spec}: {len(self.skipped)} of {total} photos can't be read, over {MAX_SHARE:.0%}: "
                f"{named}. Repair or remove them."
            )
        return f"skipped {len(self.skipped)} of {total} photos that can't be read: {named}"
