"""A pixel range says what the values of 16-bit photos mean.

Cameras and microscopes write 10 or 12 bits into files of 16.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tledge.errors import InputError

OPTION = "--pixel-range"
_LARGEST = 65535
_FEWEST_VALUES = 256  # fewer would leave 8-bit pixels unused, and are no 16-bit data
# A picture that leaves three quarters of the range empty has a smaller range, or is very dark: nobody can tell which.
_LEAST_HIGHEST = 1 << 14


class PixelRange(NamedTuple):
    """A pixel range holds the values of black and of white in 16-bit photos, both included."""

    low: int
    high: int

    def __str__(self) -> str:
        return f"{self.low}..{self.high}"

    def is_possible(self) -> bool:
        """Return whether 16-bit values can have this range, and it has enough values to fill 8-bit pixels."""
        return self.low >= 0 and self.low + _FEWEST_VALUES - 1 <= self.high <= _LARGEST

    def to_8_bits(self, values: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint8]:
        """Map values inside the range to 0..255, in equal steps.

        For the whole 16-bit range the result is the high byte.
        """
        num_values = self.high - self.low + 1
        return ((values.astype(np.uint32) - self.low) * 256 // num_values).astype(np.uint8)


WHOLE = PixelRange(0, _LARGEST)


def parse_pixel_range(text: str | None) -> PixelRange | None:
    """Parse a range such as ``0..4095``; None stays None.

    Raises InputError for any other text, and for a range that is not possible.
    """
    if text is None:
        return None
    found = re.fullmatch(r"([0-9]{1,5})\.\.([0-9]{1,5})", text.strip())
    asked = PixelRange(int(found[1]), int(found[2])) if found else None
    if asked is None or not asked.is_possible():
        raise InputError(
            f"{OPTION} {text!r}: use the values of black and white as in 0..4095, at least 255 apart, within 0..{_LARGEST}"
        )
    return asked


def checked_pixel_range(given: tuple[int, int] | str | None) -> PixelRange | None:
    """Return a range that was given as two numbers or as text; None stays None.

    Raises InputError for anything else, and for a range that is not possible.
    """
    if isinstance(given, tuple) and len(given) == 2 and all(isinstance(value, int) for value in given):
        return parse_pixel_range(str(PixelRange(*given)))
    if given is None or isinstance(given, str):
        return parse_pixel_range(given)
    raise InputError(f"pixel_range={given!r}: give the values of black and white, as in (0, 4095)")


def leaves_range_unknown(highest: int) -> bool:
    """Return whether a 16-bit photo whose highest value is ``highest`` may hold values of fewer bits, such as 12.

    The result is False for 0, because an all-black photo is black in any range.
    """
    return 0 < highest < _LEAST_HIGHEST


def likely(highest: int) -> PixelRange:
    """Return the range of the fewest bits that holds ``highest``, among the bit depths that devices have."""
    return next(PixelRange(0, (1 << bits) - 1) for bits in (8, 10, 12, 14, 16) if highest < 1 << bits)


def way_out(highest: int) -> str:
    """Say what to do about photos whose range is unknown; ``highest`` is the highest of all their values."""
    return (
        f"Say which values they have with {OPTION} {likely(highest)}, or with {OPTION} {WHOLE} if they are only dark."
    )
