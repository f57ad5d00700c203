"""One decode and resize for everything: each odd file comes out as a viewer would show it, or is refused."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from tledge import heif, preprocessing
from tledge.preprocessing import (
    _FORMATS,
    PHOTO_SUFFIXES,
    UnreadableImage,
    decode,
    pixel_digest,
    prepare_photo,
    resize,
    to_rgb,
)

RED, BLUE = (255, 0, 0), (0, 0, 255)


def _encoded(image: Image.Image, encoding: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, encoding, **options)
    return out.getvalue()


def _pattern(height: int = 20, width: int = 30) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("encoding", ["PNG", "BMP", "TIFF", "PPM", "TGA"])
def test_a_lossless_file_gives_its_own_pixels(encoding: str) -> None:
    assert np.array_equal(decode(_encoded(Image.fromarray(_pattern()), encoding)), _pattern())


def test_cmyk_comes_out_in_its_colours() -> None:
    image = decode(_encoded(Image.new("RGB", (16, 16), RED).convert("CMYK"), "JPEG", quality=95))
    assert image.shape == (16, 16, 3)
    assert image.mean((0, 1)) == pytest.approx(RED, abs=3)  # JPEG loses a code or two


def test_16_bit_grey_keeps_its_high_byte_and_is_not_clipped() -> None:
    ramp = np.linspace(0, 65_000, 256).astype(np.uint16).reshape(16, 16)  # low bytes differ from high ones
    for encoding in ("PNG", "TIFF"):
        image = decode(_encoded(Image.fromarray(ramp), encoding))
        assert np.array_equal(image[:, :, 0], (ramp >> 8).astype(np.uint8)), encoding
        assert np.array_equal(image[:, :, 0], image[:, :, 2])


def test_16_bit_rgb_keeps_its_high_byte() -> None:
    import struct
    import zlib

    values = np.linspace(0, 65_000, 8 * 8 * 3).astype(np.uint16).reshape(8, 8, 3)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)  # Pillow writes no 16-bit RGB
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    assert np.array_equal(decode(png), (values >> 8).astype(np.uint8))


@pytest.mark.parametrize("mode", ["I", "F"])
def test_32_bit_pixels_are_refused_with_the_way_out(mode: str) -> None:
    with pytest.raises(UnreadableImage, match="no agreed range, unlike 8 or 16 bits a channel"):
        decode(_encoded(Image.new(mode, (8, 8), 70_000), "TIFF"))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "LAB"])
def test_every_plain_mode_becomes_rgb(mode: str) -> None:
    image = decode(_encoded(Image.fromarray(_pattern()).convert(mode), "TIFF"))
    assert (image.shape, image.dtype) == ((20, 30, 3), np.uint8)


def test_transparency_is_laid_over_white() -> None:
    rgba = Image.new("RGBA", (4, 4), (*BLUE, 255))
    rgba.putpixel((1, 2), (*RED, 0))
    image = decode(_encoded(rgba, "PNG"))
    assert tuple(image[2, 1]) == (255, 255, 255)
    assert tuple(image[0, 0]) == BLUE


@pytest.mark.parametrize("encoding", ["PNG", "GIF"])
def test_a_transparent_palette_entry_is_laid_over_white(encoding: str) -> None:
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([*RED, *BLUE])
    palette.putpixel((1, 2), 0)
    image = decode(_encoded(palette, encoding, transparency=0))
    assert tuple(image[2, 1]) == (255, 255, 255)
    assert tuple(image[0, 0]) == BLUE


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_turned_by_exif_comes_out_upright(orientation: int) -> None:
    upright = Image.fromarray(_pattern())
    # How a camera stores it: the inverse of what a viewer does for this orientation (EXIF 2.32, tag 0x0112).
    inverse = {
        1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]  # fmt: skip
    stored = upright if inverse is None else upright.transpose(inverse)
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(decode(_encoded(stored, "PNG", exif=exif)), _pattern())


def test_the_first_frame_of_an_animation_is_taken() -> None:
    first, second = Image.new("RGB", (8, 6), RED), Image.new("RGB", (8, 6), BLUE)
    for encoding in ("GIF", "PNG", "WEBP"):
        options = {"lossless": True} if encoding == "WEBP" else {}
        image = decode(_encoded(first, encoding, save_all=True, append_images=[second], **options))
        assert image.shape == (6, 8, 3)
        assert tuple(image[0, 0]) == RED, encoding


def test_one_pixel_is_a_picture() -> None:
    image = resize(decode(_encoded(Image.new("RGB", (1, 1), RED), "PNG")), 32)
    assert image.shape == (32, 32, 3)
    assert np.all(image == RED)


def test_a_decompression_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = _encoded(Image.new("1", (12_000, 12_000)), "PNG")
    assert len(bomb) < 50_000
    with pytest.raises(UnreadableImage, match="12000 x 12000 pixels, and the limit is 100,000,000"):
        decode(bomb)


@pytest.mark.parametrize("encoding", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_a_truncated_file_is_refused(encoding: str, kept: float) -> None:
    data = _encoded(Image.fromarray(_pattern(64, 64)), encoding)
    decode(data)
    with pytest.raises(UnreadableImage):
        decode(data[: int(len(data) * kept)])


@pytest.mark.parametrize(
    "data", [b"", b"feed at noon", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0" + b"\0" * 50, b"%PDF-1.7"]
)
def test_what_is_no_image_is_refused_without_the_address_of_a_buffer(data: bytes) -> None:
    with pytest.raises(UnreadableImage) as caught:
        decode(data)
    assert " at 0x" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_random_damage_is_refused_or_decoded_and_never_another_error() -> None:
    rng = np.random.default_rng(0)
    for encoding in ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP"):
        data = _encoded(Image.fromarray(_pattern(32, 32)), encoding)
        for _ in range(40):
            hurt = bytearray(data)
            for place in rng.integers(0, len(hurt), 4):
                hurt[place] = rng.integers(0, 256)
            with contextlib.suppress(UnreadableImage):
                assert decode(bytes(hurt)).shape[2] == 3


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3)])
def test_grey_arrays_become_rgb(shape: tuple[int, ...]) -> None:
    values = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    rgb = to_rgb(values)
    assert rgb.shape == (5, 7, 3)
    assert np.array_equal(rgb[:, :, 2], values.reshape(5, 7, -1)[:, :, -1])


def test_resize_averages_when_it_shrinks_and_leaves_the_right_size_alone() -> None:
    board = np.indices((64, 64)).sum(0) % 2 * 255
    image = np.repeat(board[:, :, None], 3, axis=2).astype(np.uint8)
    small = resize(image, 8)
    assert small.shape == (8, 8, 3)
    assert np.abs(small.astype(int) - 127).max() <= 6  # without antialiasing it would be 0 or 255
    assert resize(image, 64) is image


def test_the_digest_is_of_the_picture_and_not_of_its_file() -> None:
    image = Image.fromarray(_pattern())
    digests = {pixel_digest(decode(_encoded(image, encoding))) for encoding in ("PNG", "BMP", "TIFF")}
    assert len(digests) == 1
    assert pixel_digest(decode(_encoded(image.transpose(Image.Transpose.ROTATE_90), "PNG"))) not in digests


def test_the_digest_tells_shapes_apart() -> None:
    flat = np.zeros((2, 8, 3), np.uint8)
    assert pixel_digest(flat) != pixel_digest(flat.reshape(4, 4, 3))


def _by_pillow(data: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """What Pillow's own functions make of a whole picture of 8 bits."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "LAB"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_strips_change_no_bit(mode: str, orientation: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preprocessing, "_STRIP_PIXELS", 150)
    exif = Image.Exif()
    exif[0x0112] = orientation
    for shape in ((40, 13), (13, 40)):
        values = np.random.default_rng(0).integers(0, 256, (*shape, 4), np.uint8)
        image = Image.fromarray(values if mode in ("LA", "PA", "RGBA") else values[:, :, :3]).convert(mode)
        options = {"transparency": 3} if mode == "P" else {}
        data = _encoded(image, "TIFF" if mode in ("CMYK", "LAB", "PA") else "PNG", exif=exif, **options)
        expected = _by_pillow(data)
        assert np.array_equal(decode(data), expected)
        for size in (5, 16, 50):
            prepared = prepare_photo(data, size)
            assert np.array_equal(prepared.pixels, resize(expected, size))
            assert prepared.digest == pixel_digest(expected)


def test_pixels_are_those_of_the_one_decoder() -> None:
    data = _encoded(Image.fromarray(_pattern()), "JPEG")
    assert np.array_equal(prepare_photo(data, 16).pixels, resize(decode(data), 16))
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    assert np.array_equal(prepare_photo(grey, 8).pixels, np.stack([grey] * 3, axis=2))


@pytest.mark.parametrize("size", [(200_000, 1), (1, 200_000)])
def test_a_picture_that_is_a_line_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(UnreadableImage, match="the limit of a side is 131,072"):
        decode(_encoded(Image.new("1", size), "PNG"))


_TWO_AT_ONCE = """
import re, sys
from collections.abc import Iterator
from pathlib import Path
from tledge.ahead import ahead
from tledge.preprocessing import prepare_photo

def peak_kb():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

small, large = (Path(name).read_bytes() for name in sys.argv[1:])
prepare_photo(small, 64)
before = peak_kb()
list(ahead(lambda data: prepare_photo(data, 64), [large, large]))
print(peak_kb() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the peak of a process is read from /proc")
def test_large_pictures_are_in_memory_one_at_a_time_and_once(tmp_path: Path) -> None:
    paths = [tmp_path / "small.png", tmp_path / "large.png"]
    for path, side in zip(paths, (8, 5000), strict=True):
        path.write_bytes(_encoded(Image.new("P", (side, side)), "PNG", transparency=0))
    measured = subprocess.run(
        [sys.executable, "-c", _TWO_AT_ONCE, *map(str, paths)], capture_output=True, text=True, check=True
    )
    # A byte a pixel as it is stored, four in RGB, and strips; two at once, laid over white whole, take 45 bytes a pixel.
    assert int(measured.stdout) * 1024 < 25e6 * 5 + 80 * 2**20


def test_every_suffix_of_the_formats_that_are_decoded_means_a_photo() -> None:
    Image.init()
    known = {suffix for suffix, name in Image.registered_extensions().items() if name in (*_FORMATS, "MPO")}
    assert known == PHOTO_SUFFIXES - set(heif.SUFFIXES)


@pytest.fixture
def heic_photos() -> Iterator[None]:
    """What reads HEIC, and writes it for the test; Pillow does not know it afterwards, as before."""
    library = pytest.importorskip("pillow_heif", reason="needs the extra heic")
    library.register_heif_opener()
    yield
    for registered in (Image.OPEN, Image.SAVE, Image.EXTENSION):
        for key in [key for key, value in registered.items() if "HEIF" in (key, value)]:
            del registered[key]
    Image.ID.remove("HEIF")
    heif.is_readable.cache_clear()


@pytest.mark.usefixtures("heic_photos")
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_heic_photo_is_read_upright_as_a_lossless_one_is(orientation: int) -> None:
    assert {name for name, kind in Image.registered_extensions().items() if kind == "HEIF"} == set(heif.SUFFIXES)
    heif.is_readable.cache_clear()
    image = Image.new("RGB", (64, 32), RED)
    image.paste(BLUE, (0, 0, 64, 16))
    image.getexif()[ExifTags.Base.Orientation] = orientation
    lossless = decode(_encoded(image, "PNG", exif=image.getexif()))
    found = decode(_encoded(image, "HEIF", quality=95))  # it turns by a property of its own, as cameras write it
    assert found.shape == lossless.shape
    assert np.abs(found.astype(int) - lossless).mean() < 12  # HEVC blurs the border of two colours


def test_without_its_extra_a_heic_photo_is_to_be_converted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as if it were not installed
    heif.is_readable.cache_clear()
    with pytest.raises(UnreadableImage, match=r"HEIC: convert it to JPEG, or .* pip install '\.\[heic\]'"):
        decode(b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf")
    heif.is_readable.cache_clear()


def test_avif_is_not_taken_for_heic_whatever_its_first_brand() -> None:
    assert heif.is_heif(b"\0\0\0\x18ftypmif1\0\0\0\0mif1miaf")
    assert not heif.is_heif(b"\0\0\0\x18ftypmif1\0\0\0\0avifmiaf")
    assert not heif.is_heif(_encoded(Image.new("RGB", (8, 8)), "AVIF"))
    assert not heif.is_heif(b"\0\0\0\x18ftypisom\0\0\0\0mp42isom")


@pytest.mark.parametrize("encoding", ["ICO", "ICNS", "PDF", "DDS", "QOI"])
def test_a_file_that_is_no_photo_is_named_by_its_kind(encoding: str) -> None:
    with pytest.raises(UnreadableImage, match=r": convert it to JPEG or PNG$|^QOI: "):
        decode(_encoded(Image.new("RGBA" if encoding != "PDF" else "RGB", (64, 64)), encoding))


@pytest.mark.parametrize("encoding", ["MPO", "AVIF"])
def test_what_cameras_and_phones_write_is_read(encoding: str) -> None:
    assert decode(_encoded(Image.fromarray(_pattern()), encoding)).shape == _pattern().shape
