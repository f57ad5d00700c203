"""This module reads the values of pictures with 16 bits a channel; Pillow keeps only the high bytes of colours."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.pixel_range import WHOLE, PixelRange

Box = tuple[int, int, int, int]  # left, upper, right, lower, as Pillow has it
_COLOURS = re.compile(r"(RGB|RGBX|RGBA|RGBa);16[BLN]")  # how Pillow names what it unpacks; CMYK counts ink, not light
_GREY_AND_ALPHA = "LA;16B"
_JPEG2000_START = b"\xff\x4f\xff\x51"
_BITS_AT = 42  # after that start: the bits of the first channel less one, below a bit for the sign


@dataclass(frozen=True)
class Wide:
    """A wide picture has 16 bits a channel; its values can be read once its ``image`` is loaded.

    ``declared`` is the range that the file gives its values, as Pillow hands them out; None where it does not say.
    """

    image: Any
    declared: PixelRange | None
    unpacked_as: str  # "" for grey, whose values Pillow keeps
    data: bytes

    @property
    def is_colour(self) -> bool:
        """Return whether the picture is in colour.

        Pillow's own pixels are the high bytes of colours, but the whole values of grey.
        """
        return bool(self.unpacked_as)

    def least_highest(self) -> int:
        """Return a lower bound of the highest value, taken from the high bytes; for grey it is exact."""
        extrema = self.image.getextrema()
        return max(band[1] for band in extrema[:3]) << 8 if self.is_colour else int(extrema[1])

    def values(self) -> Values:
        """Return all values of the picture.

        Raises ValueError where Pillow can't give the low bytes.
        """
        return Values(self.image, self._low_bytes() if self.is_colour else None, self.unpacked_as)

    def _low_bytes(self) -> Any:
        """Unpack the picture again in the other byte order, which gives the low bytes.

        A picture of grey and alpha gives the four bytes of each pixel.
        """
        from PIL import Image

        if self.unpacked_as.startswith("RGBa"):
            raise ValueError(
                "16-bit colours multiplied by their transparency, which can be read without transparency only"
            )
        if self.unpacked_as == _GREY_AND_ALPHA:
            other = "RGBA"
        else:
            order = self.unpacked_as[-1]
            if order == "N":
                order = "L" if sys.byteorder == "little" else "B"
            other = self.unpacked_as[:-1] + ("B" if order == "L" else "L")
        image = Image.open(io.BytesIO(self.data), formats=[self.image.format])
        image.tile = [tile._replace(args=_with(other, tile.args)) for tile in image.tile]
        image.load()
        return image


def _with(unpacked_as: str, arguments: Any) -> Any:
    """Put another name into a decoder's arguments, which are the name of what it unpacks or begin with it."""
    return unpacked_as if isinstance(arguments, str) else (unpacked_as, *arguments[1:])


@dataclass(frozen=True)
class Values:
    """This class reads the 16-bit values of a picture, a box at a time."""

    image: Any
    low_bytes: Any | None
    unpacked_as: str

    def extremes(self, strips: Iterable[tuple[int, int]]) -> tuple[int, int]:
        """Return the lowest and the highest value of the picture, transparency aside.

        ``strips`` gives the first row of each strip and the row after its last.
        """
        found = []
        for top, bottom in strips:
            part = self._colours((0, top, self.image.width, bottom))
            found.append((int(part.min()), int(part.max())))
        return min(low for low, _ in found), max(high for _, high in found)

    def to_8_bits(self, box: Box, pixel_range: PixelRange) -> Any:
        """Map a part of the picture to a Pillow image of 8 bits a channel: L, RGB or RGBA."""
        from PIL import Image

        colours = pixel_range.to_8_bits(self._colours(box))
        if self.low_bytes is None or self.image.mode != "RGBA":
            return Image.fromarray(colours)
        if colours.ndim == 2:
            colours = np.repeat(colours[:, :, None], 3, axis=2)
        alpha = np.asarray(self.image.crop(box))[:, :, 3:]
        return Image.fromarray(np.concatenate([colours, alpha], axis=2))

    def _colours(self, box: Box) -> npt.NDArray[np.uint16]:
        """Return the values of a box without transparency, uint16 (h, w) or (h, w, 3)."""
        stored = np.asarray(self.image.crop(box)).astype(np.uint16)
        if self.low_bytes is None:
            return stored
        low = np.asarray(self.low_bytes.crop(box)).astype(np.uint16)
        if self.unpacked_as == _GREY_AND_ALPHA:
            return np.asarray(low[:, :, 0] << 8 | low[:, :, 1], np.uint16)
        return np.asarray(stored[:, :, :3] << 8 | low[:, :, :3], np.uint16)


def wide(data: bytes, image: Any) -> Wide | None:
    """Recognise an image of 16 bits a channel by its header, before it is loaded; None for one of another kind."""
    tiles = [tile.args if isinstance(tile.args, str) else tile.args[0] for tile in image.tile if tile.args]
    unpacked_as = str(tiles[0]) if tiles else ""
    if _COLOURS.fullmatch(unpacked_as) or unpacked_as == _GREY_AND_ALPHA:
        return Wide(image, None, unpacked_as, data)
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        return Wide(image, _declared(data, image, unpacked_as), "", data)
    return None


def _declared(data: bytes, image: Any, unpacked_as: str) -> PixelRange | None:
    if unpacked_as == "I;12":  # TIFF of 12 bits a channel; Pillow leaves the values as they are
        return PixelRange(0, 4095)
    if image.format == "PPM":  # Pillow spreads the values of a header that says another range over 16 bits
        return None if unpacked_as == "I;16B" or image.tile[0].args[-1] == WHOLE.high else WHOLE
    if image.format == "JPEG2000":  # Pillow spreads its values too
        start = data.find(_JPEG2000_START)
        return WHOLE if start >= 0 and (data[start + _BITS_AT] & 0x7F) + 1 < 16 else None
    return None
