"""Every decode, resize and scale happens here: training, calibration, verification and prediction share it.

An image becomes uint8 RGB at the model's input size. The scale to [0, 1] is in the model's graph, so every artifact
takes the pixel bytes themselves. A large picture is processed strip by strip, and one at a time. Beside what its
decoder needs there is at most one copy of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import threading
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tledge.errors import InputError
from tledge.pixel_range import OPTION, WHOLE, PixelRange, leaves_range_unknown, way_out
from tledge.wide_pixels import Values, Wide, wide

Pixels = npt.NDArray[np.uint8]

VERSION = 2
DESCRIPTION = (
    "Pillow decode, EXIF orientation, RGB, bilinear resize with antialiasing to the input size (aspect not kept)"
)
PIXEL_SCALE = 1.0 / 255.0
# Photo formats that Pillow decodes by itself: EPS, for one, would start another program.
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "TGA", "JPEG2000", "AVIF")
# Pillow registers these suffixes for the formats. They matter in folders only: a file that is named is read whatever its suffix.
PHOTO_SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".png", ".apng", ".gif"),
        *(".bmp", ".webp", ".tif", ".tiff", ".avif", ".avifs", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
        *(".tga", ".icb", ".vda", ".vst"),
    }
)
MAX_PIXELS = 100_000_000  # a larger picture is a mistake or an attack
_MAX_SIDE = 1 << 17  # a longer side is a mistake or an attack; a resize may need memory for each row
_STRIP_PIXELS = 1 << 20
_LARGE_PIXELS = 1 << 24
_alone = threading.Lock()  # large pictures are decoded one at a time: a decoder needs up to 20 bytes a pixel


class UnreadableImage(InputError):
    """This error says that bytes are not a whole image that Pillow can read."""


class UnknownRange(UnreadableImage):
    """This error says that the values of a 16-bit photo leave most of their range empty.

    ``highest`` is the largest of the values.
    """

    def __init__(self, highest: int) -> None:
        super().__init__(f"16 bits a channel, and no value over {highest} of {WHOLE.high}. {way_out(highest)}")
        self.highest = highest


class PreparedPhoto(NamedTuple):
    """A prepared photo has ``pixels``, uint8 RGB (S, S, 3), and a ``digest``.

    The digest is the SHA-256 of all pixels before the resize, as :func:`pixel_digest` makes it.
    """

    pixels: Pixels
    digest: bytes


def version(pixel_range: PixelRange | None) -> str:
    """Name the version of the preprocessing and its pixel range, for the names under which pixels are kept."""
    return f"v{VERSION}" if pixel_range is None else f"v{VERSION}-{pixel_range}"


def decode(data: bytes, pixel_range: PixelRange | None = None) -> Pixels:
    """Decode an encoded image to uint8 RGB (H, W, 3), upright, with transparency laid over white.

    An animation gives its first frame. ``pixel_range`` is the range of 16-bit values, where the file itself does not
    say it. None means the whole of 16 bits, of which the high byte is kept. Raises UnreadableImage for anything that is
    not a whole image of at most ``MAX_PIXELS`` pixels, and for values outside ``pixel_range``. Raises UnknownRange,
    where that is None, for 16-bit values that are all small.
    """
    with _opened(data, pixel_range) as image:
        return np.concatenate(list(_rows(image)))


def prepare_photo(
    data: bytes | npt.NDArray[np.uint8], size: int, pixel_range: PixelRange | None = None
) -> PreparedPhoto:
    """Bring an image to the model's input size, as :func:`resize` after :func:`decode` would, in less memory.

    ``data`` is an encoded image as :func:`decode` takes it, or uint8 (H, W) or (H, W, C). Raises what :func:`decode`
    raises.
    """
    if not isinstance(data, bytes):
        image = to_rgb(data)
        return PreparedPhoto(resize(image, size), pixel_digest(image))
    with _opened(data, pixel_range) as opened:
        digest = _digest_of_shape(opened.height, opened.width)
        for rows in _rows(opened):
            digest.update(rows.data)
        return PreparedPhoto(_resized(opened, size), digest.digest())


@contextlib.contextmanager
def _opened(data: bytes, pixel_range: PixelRange | None) -> Iterator[Any]:
    """Open an image as a Pillow image, upright and RGB.

    Any error of the image inside the block is raised as UnreadableImage too.
    """
    from PIL import ExifTags, Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # Pillow warns of a large picture, and of odd metadata; our own limits decide on size.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image, _by_itself_if_large(image):
                found = wide(data, image)
                image.load()
                orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
                if found is None:
                    yield _upright(image, orientation)
                else:
                    yield _upright(image, orientation, *_values(found, pixel_range))
    except UnreadableImage:
        raise
    except UnidentifiedImageError as error:  # its own message is the address of our buffer
        reason = "no image of a format that Pillow reads" if data else "an empty or unreadable file"
        raise UnreadableImage(reason) from error
    except Exception as error:  # Pillow's plugins raise anything from SyntaxError to struct.error on hostile bytes
        raise UnreadableImage(f"{type(error).__name__}: {error}") from error


@contextlib.contextmanager
def _by_itself_if_large(image: Any) -> Iterator[None]:
    """Wait, with a large image, until no other large one is being decoded, and keep others waiting inside the block.

    Raises UnreadableImage for an image that is too large by its header.
    """
    num_pixels = image.width * image.height
    if num_pixels > MAX_PIXELS:
        raise UnreadableImage(f"{image.width} x {image.height} pixels, and the limit is {MAX_PIXELS:,}")
    if max(image.size) > _MAX_SIDE:
        raise UnreadableImage(f"{image.width} x {image.height} pixels, and the limit of a side is {_MAX_SIDE:,}")
    with _alone if num_pixels > _LARGE_PIXELS else contextlib.nullcontext():
        yield


def _upright(image: Any, orientation: Any, values: Values | None = None, pixel_range: PixelRange = WHOLE) -> Any:
    """Turn a decoded image to RGB and upright, as its EXIF orientation asks.

    It works strip by strip, so that there is no third image of its size. ``values`` are the image's 16-bit values, of
    range ``pixel_range``, where the image's own pixels are not its 8-bit ones.
    """
    from PIL import Image
    from PIL.Image import Transpose

    turn = {
        2: Transpose.FLIP_LEFT_RIGHT, 3: Transpose.ROTATE_180, 4: Transpose.FLIP_TOP_BOTTOM, 5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270, 7: Transpose.TRANSVERSE, 8: Transpose.ROTATE_90,
    }.get(orientation)  # fmt: skip
    if turn is None and values is None and image.mode == "RGB" and "transparency" not in image.info:
        return image
    is_on_its_side = turn is not None and orientation >= 5
    is_reversed = orientation in (3, 4, 7, 8)  # upright rows count from the far end of what is stored
    width, height = image.size[::-1] if is_on_its_side else image.size
    made = Image.new("RGB", (width, height))
    for top, bottom in _strips(width, height):
        first, last = (height - bottom, height - top) if is_reversed else (top, bottom)
        box = (first, 0, last, width) if is_on_its_side else (0, first, width, last)
        strip = image.crop(box) if values is None else values.to_8_bits(box, pixel_range)
        made.paste(_rgb(strip if turn is None else strip.transpose(turn)), (0, top))
    return made


def _strips(width: int, height: int) -> Iterator[tuple[int, int]]:
    """Yield the first row of each strip, and the row after its last."""
    step = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, step):
        yield top, min(top + step, height)


def _rows(image: Any) -> Iterator[Pixels]:
    """Yield the pixels of a Pillow image in RGB, uint8 (h, W, 3), from the top down."""
    for top, bottom in _strips(*image.size):
        yield np.asarray(image.crop((0, top, image.width, bottom)))


def _values(found: Wide, asked: PixelRange | None) -> tuple[Values | None, PixelRange]:
    """Return a 16-bit picture's values and their range; None for the values where their high bytes are enough.

    ``asked`` is the range that the caller names. Raises UnknownRange and UnreadableImage as :func:`decode` does.
    """
    own_range = found.declared or asked or WHOLE
    is_known = found.declared is not None or asked == WHOLE
    if asked is None and not is_known and not leaves_range_unknown(found.least_highest() or 1):
        is_known = True
    if is_known and own_range == WHOLE and found.is_colour:
        return None, WHOLE
    values = found.values()
    if not is_known:
        lowest, highest = values.extremes(_strips(*found.image.size))
        if asked is None and leaves_range_unknown(highest):
            raise UnknownRange(highest)
        if not own_range.low <= lowest <= highest <= own_range.high:
            raise UnreadableImage(f"16-bit values from {lowest} to {highest}, outside of {OPTION} {own_range}")
    return values, own_range


def _rgb(strip: Any) -> Any:
    """Convert a Pillow image of 8 bits a channel to RGB, with transparency laid over white."""
    from PIL import Image

    if strip.mode in ("I", "F"):
        raise UnreadableImage("32-bit pixels, which have no agreed range, unlike 8 or 16 bits a channel")
    if strip.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in strip.info:
        layer = strip.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        strip = Image.alpha_composite(white, layer)
    return strip.convert("RGB")


def to_rgb(values: npt.NDArray[np.uint8]) -> Pixels:
    """Convert uint8 (H, W), (H, W, 1) or (H, W, 3) to RGB (H, W, 3): grey is repeated."""
    if values.ndim == 2:
        values = values[:, :, None]
    return np.repeat(values, 3, axis=2) if values.shape[2] == 1 else values


def resize(image: Pixels, size: int) -> Pixels:
    """Resize uint8 (H, W, 3) to (size, size, 3), bilinearly with antialiasing."""
    from PIL import Image

    return image if image.shape[:2] == (size, size) else _resized(Image.fromarray(image), size)


def _resized(image: Any, size: int) -> Pixels:
    from PIL import Image

    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def pixel_digest(image: Pixels) -> bytes:
    """Return the SHA-256 of a decoded image before its resize: files of the same pixels have the same digest."""
    digest = _digest_of_shape(*image.shape[:2])
    digest.update(np.ascontiguousarray(image).data)
    return bytes(digest.digest())


def _digest_of_shape(height: int, width: int) -> Any:
    return hashlib.sha256(f"{height}x{width}:".encode())
