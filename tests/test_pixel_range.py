"""Values of 16 bits become 8-bit pixels by the range that they have; one that nobody knows is refused."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tledge.errors import InputError
from tledge.pixel_range import PixelRange, likely, parse_pixel_range
from tledge.preprocessing import Preparation, UnknownRange, UnreadableImage, decode, prepare_photo

Values = npt.NDArray[np.uint16]
TWELVE = PixelRange(0, 4095)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(values: Values, colour_type: int) -> bytes:
    """16 bits a channel, which Pillow writes of grey alone."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


def _tiff_rgb(values: Values, order: str) -> bytes:
    """Uncompressed, 16 bits a channel, little ``<`` or big ``>`` endian."""
    height, width = values.shape[:2]
    data = values.astype(f"{order}u2").tobytes()
    entries = [
        (256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, 8 + len(data)), (259, 3, 1, 1), (262, 3, 1, 2),
        (273, 4, 1, 8), (277, 3, 1, 3), (278, 3, 1, height), (279, 4, 1, len(data)), (284, 3, 1, 1),
    ]  # fmt: skip
    bits = struct.pack(f"{order}HHHH", 16, 16, 16, 0)
    directory = struct.pack(f"{order}H", len(entries))
    for tag, kind, count, value in entries:
        is_short = kind == 3 and count == 1
        packed = struct.pack(f"{order}HH", value, 0) if is_short else struct.pack(f"{order}I", value)
        directory += struct.pack(f"{order}HHI", tag, kind, count) + packed
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8 + len(data) + len(bits))
    return start + data + bits + directory + bytes(4)


def _saved(values: Values, encoding: str, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(values).save(out, encoding, **options)
    return out.getvalue()


def _random(largest: int, *shape: int) -> Values:
    values = np.random.default_rng(0).integers(0, largest + 1, shape).astype(np.uint16)
    values.flat[:2] = 0, largest
    return values


GREY: dict[str, Callable[[Values], bytes]] = {
    "PNG": lambda values: _saved(values, "PNG"),
    "TIFF": lambda values: _saved(values, "TIFF"),
    "compressed TIFF": lambda values: _saved(values, "TIFF", compression="tiff_lzw"),
    "PGM": lambda values: b"P5 %d %d 65535\n" % values.shape[::-1] + values.astype(">u2").tobytes(),
    "JPEG 2000": lambda values: _saved(values, "JPEG2000"),
}
COLOUR: dict[str, Callable[[Values], bytes]] = {
    "PNG": lambda values: _png(values, 2),
    "little-endian TIFF": lambda values: _tiff_rgb(values, "<"),
    "big-endian TIFF": lambda values: _tiff_rgb(values, ">"),
}


@pytest.mark.parametrize("encoding", GREY)
@pytest.mark.parametrize("bits", [10, 12, 14])
def test_grey_of_fewer_bits_is_refused_with_the_range_that_it_seems_to_have_and_read_by_it(
    encoding: str, bits: int
) -> None:
    largest = (1 << bits) - 1
    values = _random(largest, 9, 14)
    data = GREY[encoding](values)
    with pytest.raises(UnknownRange, match=rf"no value over {largest} of 65535.*--pixel-range 0\.\.{largest}, or with"):
        decode(data)
    pixels = decode(data, PixelRange(0, largest))
    assert np.array_equal(pixels, np.repeat((values >> (bits - 8))[:, :, None], 3, axis=2))
    assert np.array_equal(decode(data, PixelRange(0, 65535))[:, :, 0], values >> 8)  # "it is only dark"


@pytest.mark.parametrize("encoding", COLOUR)
def test_colour_of_fewer_bits_keeps_all_that_it_has(encoding: str) -> None:
    values = _random(4095, 9, 14, 3)
    data = COLOUR[encoding](values)
    with pytest.raises(UnknownRange, match=r"--pixel-range 0\.\.4095"):
        decode(data)
    assert np.array_equal(decode(data, TWELVE), values >> 4)
    whole = _random(65535, 9, 14, 3)
    assert np.array_equal(decode(COLOUR[encoding](whole)), whole >> 8)
    assert np.array_equal(decode(COLOUR[encoding](whole), PixelRange(0, 65535)), whole >> 8)


@pytest.mark.parametrize(("colour_type", "num_colours"), [(4, 1), (6, 3)])
def test_transparency_has_the_whole_range_whatever_the_colours_have(colour_type: int, num_colours: int) -> None:
    colours = _random(4095, 8, 8, num_colours)
    alpha = np.full((8, 8, 1), 65535, np.uint16)
    alpha[2, 1] = 0
    data = _png(np.concatenate([colours, alpha], axis=2), colour_type)
    with pytest.raises(UnknownRange):
        decode(data)
    pixels = decode(data, TWELVE)
    assert tuple(pixels[2, 1]) == (255, 255, 255)
    is_opaque = alpha[:, :, 0] > 0
    assert np.array_equal(pixels[is_opaque], np.broadcast_to(colours >> 4, (8, 8, 3))[is_opaque])


def test_a_value_outside_of_the_range_is_refused_and_not_clipped() -> None:
    data = _saved(_random(4100, 8, 8), "PNG")
    with pytest.raises(UnreadableImage, match=r"16-bit values from 0 to 4100, outside of --pixel-range 0\.\.4095"):
        decode(data, TWELVE)
    with pytest.raises(UnreadableImage, match="outside"):
        decode(_png(_random(4100, 8, 8, 3), 2), TWELVE)
    with pytest.raises(UnreadableImage, match=r"from 0 to 4095, outside of --pixel-range 500\.\.4095"):
        decode(_saved(_random(4095, 8, 8), "PNG"), PixelRange(500, 4095))


def test_a_file_that_declares_its_range_is_read_by_that_one() -> None:
    values = _random(4095, 8, 8)
    pgm = b"P5 8 8 4095\n" + values.astype(">u2").tobytes()
    expected = np.rint(values / 4095 * 65535).astype(np.uint16) >> 8
    for pixel_range in (None, TWELVE, PixelRange(0, 1023)):
        assert np.array_equal(decode(pgm, pixel_range)[:, :, 0], expected)


def test_what_is_black_is_black_in_any_range() -> None:
    assert not decode(_saved(np.zeros((8, 8), np.uint16), "PNG")).any()
    assert not decode(_png(np.zeros((8, 8, 3), np.uint16), 2)).any()


def test_photos_of_8_bits_have_no_range_to_say(photo_bytes: Callable[..., bytes]) -> None:
    data = photo_bytes(0)
    assert np.array_equal(prepare_photo(data, 16).pixels, prepare_photo(data, 16, Preparation(TWELVE)).pixels)


def test_a_range_is_written_as_two_values() -> None:
    assert parse_pixel_range(None) is None
    assert parse_pixel_range("0..4095") == TWELVE
    assert str(TWELVE) == "0..4095"
    for text in ("4095", "0-4095", "0..65536", "4095..0", "0..100", "-1..4095", "0..4095.5", ""):
        with pytest.raises(InputError, match=r"use the values of black and white as in 0\.\.4095"):
            parse_pixel_range(text)


def test_the_likely_range_is_that_of_the_fewest_bits() -> None:
    highest = (1, 255, 256, 1023, 1024, 4095, 4096, 16383)
    assert [likely(value).high for value in highest] == [255, 255, 1023, 1023, 4095, 4095, 16383, 16383]
