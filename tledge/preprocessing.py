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
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tledge import heif
from tledge.errors import ArtifactError, InputError
from tledge.pixel_range import OPTION, WHOLE, PixelRange, leaves_range_unknown, way_out
from tledge.resizing import SQUEEZE, Resize, is_line, parse_resize, resized
from tledge.wide_pixels import Values, Wide, wide

if TYPE_CHECKING:
    from tledge.records import PreprocessingRecord

Pixels = npt.NDArray[np.uint8]

VERSION = 3
FULL_DECODES = 2  # the version before, of runs that were built with it: every JPEG is decoded at its full size
PIXEL_SCALE = 1.0 / 255.0
# Photo formats that Pillow decodes by itself: EPS, for one, would start another program.
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "TGA", "JPEG2000", "AVIF")
# Pillow registers these suffixes for the formats. They matter in folders only: a file that is named is read whatever its suffix.
PHOTO_SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".png", ".apng", ".gif"),
        *(".bmp", ".webp", ".tif", ".tiff", ".avif", ".avifs", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
        *(".tga", ".icb", ".vda", ".vst", ".mpo"),  # an MPO file is a JPEG file with more pictures behind it
        *heif.SUFFIXES,
    }
)
_HEIF = "HEIF"  # what the extra for HEIC calls its format
# The first bytes of files that people take for photos, and that are none or are read by nothing here.
_OTHERS = {
    b"\0\0\1\0": "an icon (ICO)", b"\0\0\2\0": "a cursor (CUR)", b"icns": "icons (ICNS)", b"8BPS": "a Photoshop file",
    b"%PDF": "a PDF file", b"%!PS": "a PostScript file", b"<svg": "a drawing (SVG)", b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL", b"DDS ": "a texture (DDS)", b"qoif": "QOI", b"FUJIFILM": "a raw photo of a camera",
}  # fmt: skip
MAX_PIXELS = 100_000_000  # a larger picture is a mistake or an attack
_MAX_SIDE = 1 << 17  # a longer side is a mistake or an attack; a resize may need memory for each row
# From here on a JPEG is decoded at a part of its size. The side of what is decoded stays this many times the input's, so that
# the resized pixels differ by three grey levels at most from those of a full decode.
_SCALED_PIXELS = 8_000_000
_LEAST_RATIO = 3
_LEAST_SIDE = 768  # for the digest, which must not depend on the input size
_ON_THEIR_SIDE = (5, 6, 7, 8)  # values of the EXIF orientation
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


class Preparation(NamedTuple):
    """A preparation says how photos become pixels: the range of 16-bit photos if one was given, the version, the resize.

    A run keeps the version with which it was built, because another version may give other pixels.
    """

    pixel_range: PixelRange | None = None
    version: int = VERSION
    resize: Resize = SQUEEZE

    @property
    def name(self) -> str:
        """Name the preparation, for the names under which pixels are kept."""
        pixel_range = "" if self.pixel_range is None else f"-{self.pixel_range}"
        return f"v{self.version}{pixel_range}{'' if self.resize == SQUEEZE else f'-{self.resize.name}'}"

    @property
    def squeezed(self) -> Preparation:
        """Return the preparation with the default resize.

        Digests are of the picture before its resize, and fingerprints are of the squeezed one. So no split depends on
        the resize.
        """
        return self._replace(resize=SQUEEZE)

    def description(self) -> str:
        """Describe the steps from a photo's file to the network's input."""
        is_scaled = self.resize.antialias and self.version > FULL_DECODES
        part = " (a JPEG over 8 megapixels at a half, a quarter or an eighth of its size)" if is_scaled else ""
        return f"Pillow decode{part}, EXIF orientation, RGB, {self.resize.in_words()}"


AS_BUILDS_DO = Preparation()


class PreparedPhoto(NamedTuple):
    """A prepared photo has ``pixels``, uint8 RGB (S, S, 3), and a ``digest``.

    The digest is the SHA-256 of all pixels before the resize, as :func:`pixel_digest` makes it. ``others`` are the
    pixels by other resizes that were asked for, in their order.
    """

    pixels: Pixels
    digest: bytes
    others: tuple[Pixels, ...] = ()


def as_recorded(record: PreprocessingRecord, pixel_range: PixelRange | None = None) -> Preparation:
    """Return the preparation of a run's record, with ``pixel_range`` in place of its own where one is given.

    Raises ArtifactError for a version that this tledge does not know.
    """
    if record.version > VERSION:
        raise ArtifactError(
            f"version {record.version} of the preprocessing, and this tledge has {VERSION}: the run was made by a newer "
            "tledge. Update tledge."
        )
    own = PixelRange(*record.pixel_range) if record.pixel_range else None
    return Preparation(own if pixel_range is None else pixel_range, record.version, parse_resize(record.resize))


def decode(data: bytes, pixel_range: PixelRange | None = None) -> Pixels:
    """Decode an encoded image to uint8 RGB (H, W, 3), upright, with transparency laid over white.

    An animation gives its first frame. ``pixel_range`` is the range of 16-bit values, where the file itself does not
    say it. None means the whole of 16 bits, of which the high byte is kept. Raises UnreadableImage for anything that is
    not a whole image of at most ``MAX_PIXELS`` pixels, and for values outside ``pixel_range``. Raises UnknownRange,
    where that is None, for 16-bit values that are all small.
    """
    with _opened(data, pixel_range) as opened:
        return np.concatenate(list(_rows(opened.image)))


def prepare_photo(
    data: bytes | npt.NDArray[np.uint8],
    size: int,
    preparation: Preparation = AS_BUILDS_DO,
    others: Sequence[Resize] = (),
) -> PreparedPhoto:
    """Bring an image to the model's input size, as :func:`resize` after :func:`decode` would, in less memory.

    A JPEG over 8 megapixels is decoded at a part of its size, unless the version of ``preparation`` did not do so, or its
    resize samples without antialiasing. The pixels then differ by a few grey levels from those of a full decode.

    Args:
        data: is an encoded image as :func:`decode` takes it, or uint8 (H, W) or (H, W, C).
        size: is the side of the model's input, in pixels.
        preparation: says how the photo becomes pixels.
        others: are more resizes of the same photo. Each costs a resize, and mostly no decode.

    Raises:
        UnreadableImage: :func:`decode` raises it, or the picture is a line of which nothing can be cropped.
        InputError: a resize gives no pixels of this size.
    """
    wanted = (preparation.resize, *others)
    for one in wanted:
        one.checked(size)
    if not isinstance(data, bytes):
        image = to_rgb(data)
        pixels = [resize(image, size, one) for one in wanted]
        return PreparedPhoto(pixels[0], pixel_digest(image), tuple(pixels[1:]))
    is_scaled = preparation.version > FULL_DECODES
    made: dict[Resize, Pixels] = {}
    # The digest must not depend on the resize, so the first decode is the same for all.
    with _opened(data, preparation.pixel_range, (_LEAST_SIDE, _LEAST_SIDE) if is_scaled else None) as opened:
        digest = _digest_of_shape(opened.image.height, opened.image.width)
        for rows in _rows(opened.image):
            digest.update(rows.data)
        _resize_all(opened, size, wanted, made)
        whole = opened.whole
    # What is still missing needs a larger part of the picture, or all of it.
    least = [_least_size(whole, size, one) for one in wanted if one not in made]
    if least:
        with _opened(data, preparation.pixel_range, _largest(least)) as opened:
            _resize_all(opened, size, wanted, made)
    return PreparedPhoto(made[wanted[0]], digest.digest(), tuple(made[one] for one in wanted[1:]))


def _resize_all(opened: _Opened, size: int, wanted: Sequence[Resize], made: dict[Resize, Pixels]) -> None:
    """Add to ``made`` the pixels of each resize for which the image was decoded at a sufficient size."""
    for one in wanted:
        least = _least_size(opened.whole, size, one)
        is_enough = least is not None and all(side >= few for side, few in zip(opened.image.size, least, strict=True))
        if one not in made and (is_enough or opened.image.size == opened.whole):
            _refuse_line(*opened.whole, size, one)
            # Version 3 of the default resize takes the whole image for the picture, and runs rely on its pixels.
            box = None if one == SQUEEZE else opened.box
            made[one] = resized(opened.image, size, one, opened.whole, box)


def _least_size(whole: tuple[int, int], size: int, resize: Resize) -> tuple[int, int] | None:
    """Return the width and height at which a picture must be decoded for a resize; None stands for its full size.

    Sampling without antialiasing takes single pixels, and a decoder that scales would average them.
    """
    if not resize.antialias:
        return None
    width, height = resize.resized_size(*whole, size)
    return _LEAST_RATIO * width, _LEAST_RATIO * height


def _largest(sizes: Sequence[tuple[int, int] | None]) -> tuple[int, int] | None:
    known = [one for one in sizes if one is not None]
    return None if len(known) < len(sizes) else (max(one[0] for one in known), max(one[1] for one in known))


def _refuse_line(width: int, height: int, size: int, resize: Resize) -> None:
    if is_line(width, height, size, resize):
        raise UnreadableImage(f"{width} x {height} pixels, too long and thin a picture for the resize {resize}")


class _Opened(NamedTuple):
    """An image as a Pillow image, and the width and height of the whole picture, of which it may be a scaled decode.

    ``box`` is the area of such an image that shows the picture, in fractions of its pixels. It is None for the whole image.
    """

    image: Any
    whole: tuple[int, int]
    box: tuple[float, float, float, float] | None


def _part(image: Any, stored: tuple[int, int], orientation: Any) -> _Opened:
    """Describe an upright scaled decode of a picture that is stored with the width and height ``stored``.

    A decoder that makes a half of 4,031 pixels returns 2,016, and the last is a half of one.
    """
    whole = stored[::-1] if orientation in _ON_THEIR_SIDE else stored
    scale = round(whole[0] / image.width)
    width, height = (side / scale for side in whole)
    left = image.width - width if orientation in (2, 3, 6, 7) else 0.0  # what was last is first, after a turn
    top = image.height - height if orientation in (3, 4, 7, 8) else 0.0
    return _Opened(image, whole, (left, top, left + width, top + height))


@contextlib.contextmanager
def _opened(
    data: bytes, pixel_range: PixelRange | None, least_size: tuple[int, int] | None = None
) -> Iterator[_Opened]:
    """Open an image as a Pillow image, upright and RGB.

    A large JPEG is decoded at the smallest part of its size that has the upright width and height ``least_size`` or
    more; None decodes every image at its full size. Any error of the image inside the block is raised as UnreadableImage too.
    """
    from PIL import ExifTags, Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # Pillow warns of a large picture, and of odd metadata; our own limits decide on size.
            warnings.simplefilter("ignore")
            with (
                Image.open(io.BytesIO(data), formats=_formats(data)) as image,
                _by_itself_if_large(image, least_size) as stored,
            ):
                found = wide(data, image)
                image.load()
                orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
                upright = _upright(image, orientation, *(() if found is None else _values(found, pixel_range)))
                yield _Opened(upright, upright.size, None) if stored is None else _part(upright, stored, orientation)
    except UnreadableImage:
        raise
    except UnidentifiedImageError as error:  # its own message is the address of our buffer
        raise UnreadableImage(_why_unread(data)) from error
    except Exception as error:  # Pillow's plugins raise anything from SyntaxError to struct.error on hostile bytes
        raise UnreadableImage(f"{type(error).__name__}: {error}") from error


def _formats(data: bytes) -> tuple[str, ...]:
    """Return the formats that may read ``data``. Raises UnreadableImage for HEIC where its extra is not installed."""
    if not heif.is_heif(data):
        return _FORMATS
    if not heif.is_readable():
        raise UnreadableImage(
            "HEIC: convert it to JPEG, or install the extra heic (in a checkout of tledge: pip install '.[heic]')"
        )
    return (_HEIF,)


def _why_unread(data: bytes) -> str:
    if not data:
        return "an empty or unreadable file"
    kind = next((name for start, name in _OTHERS.items() if data.startswith(start)), None)
    return f"{kind}: convert it to JPEG or PNG" if kind else "no image of a format that Pillow reads"


@contextlib.contextmanager
def _by_itself_if_large(image: Any, least_size: tuple[int, int] | None) -> Iterator[tuple[int, int] | None]:
    """Wait, with a large image, until no other large one is being decoded, and keep others waiting inside the block.

    An image that can be decoded at a part of its size, as :func:`_opened` says, is not large. Yields the width and height
    of its whole as it is stored, and None for any other image.

    Raises UnreadableImage for an image that is too large by its header.
    """
    num_pixels = image.width * image.height
    if num_pixels > MAX_PIXELS:
        raise UnreadableImage(f"{image.width} x {image.height} pixels, and the limit is {MAX_PIXELS:,}")
    if max(image.size) > _MAX_SIDE:
        raise UnreadableImage(f"{image.width} x {image.height} pixels, and the limit of a side is {_MAX_SIDE:,}")
    stored = image.size
    if least_size is not None and num_pixels > _SCALED_PIXELS and image.format in ("JPEG", "MPO"):
        # The picture may be stored on its side. The longer side of what is asked for is that of the picture, if they differ.
        shorter, longer = sorted(least_size)
        image.draft(None, (longer, shorter) if image.width >= image.height else (shorter, longer))
    # A progressive JPEG is held whole while it is decoded, whatever comes out.
    is_part = image.width * image.height < num_pixels
    is_held_whole = not is_part or "progressive" in image.info
    with _alone if num_pixels > _LARGE_PIXELS and is_held_whole else contextlib.nullcontext():
        yield stored if is_part else None


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
    is_on_its_side = orientation in _ON_THEIR_SIDE
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


def resize(image: Pixels, size: int, how: Resize = SQUEEZE) -> Pixels:
    """Resize uint8 (H, W, 3) to (size, size, 3), by default both sides, bilinearly with antialiasing.

    Raises InputError where ``how`` gives no pixels of this size, and UnreadableImage for a line of pixels.
    """
    from PIL import Image

    if how.fit != "crop" and image.shape[:2] == (size, size):
        return image
    _refuse_line(image.shape[1], image.shape[0], size, how.checked(size))
    return resized(Image.fromarray(image), size, how)


def pixel_digest(image: Pixels) -> bytes:
    """Return the SHA-256 of a decoded image before its resize: files of the same pixels have the same digest."""
    digest = _digest_of_shape(*image.shape[:2])
    digest.update(np.ascontiguousarray(image).data)
    return bytes(digest.digest())


def _digest_of_shape(height: int, width: int) -> Any:
    return hashlib.sha256(f"{height}x{width}:".encode())
