"""THE decode, resize and scale: the same for training, calibration, verification and prediction.

An image becomes uint8 RGB at the model's input size; the scale to [0, 1] is in the model's graph,
so the pixel byte itself is what every artifact takes.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.errors import InputError

Pixels = npt.NDArray[np.uint8]

VERSION = 1
DESCRIPTION = (
    "Pillow decode, EXIF orientation, RGB, bilinear resize with antialiasing to the input size (aspect not kept)"
)
PIXEL_SCALE = 1.0 / 255.0
# Photo formats that Pillow decodes by itself: EPS, for one, would start another program.
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "TGA", "JPEG2000", "AVIF")
MAX_PIXELS = 100_000_000  # a larger picture is a mistake or an attack


class UnreadableImage(InputError):
    """Bytes that are not a whole image Pillow can read."""


def decode(data: bytes) -> Pixels:
    """Encoded image to uint8 RGB (H, W, 3), upright, the first frame of an animation.

    16-bit grey keeps its high byte (Pillow's own conversion clips at 255). Transparency is laid over white.
    Raises UnreadableImage for anything that is not a whole image of at most ``MAX_PIXELS`` pixels.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # Pillow warns of a large picture, and of odd metadata; our own limit decides on size.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise UnreadableImage(f"{image.width} x {image.height} pixels; the limit is {MAX_PIXELS:,}")
                image.load()
                ImageOps.exif_transpose(image, in_place=True)
                return _rgb(image)
    except UnreadableImage:
        raise
    except UnidentifiedImageError as error:  # its own message is the address of our buffer
        reason = "no image of a format that Pillow reads" if data else "an empty or unreadable file"
        raise UnreadableImage(reason) from error
    except Exception as error:  # Pillow's plugins raise anything from SyntaxError to struct.error on hostile bytes
        raise UnreadableImage(f"{type(error).__name__}: {error}") from error


def _rgb(image: Any) -> Pixels:
    from PIL import Image

    if image.mode.startswith("I;16"):
        return to_rgb((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise UnreadableImage("32-bit pixels have no agreed range; save the image with 8 or 16 bits a channel")
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, layer)
    return np.asarray(image.convert("RGB"))


def to_rgb(values: npt.NDArray[np.uint8]) -> Pixels:
    """uint8 (H, W), (H, W, 1) or (H, W, 3) to RGB (H, W, 3): grey is repeated."""
    if values.ndim == 2:
        values = values[:, :, None]
    return np.repeat(values, 3, axis=2) if values.shape[2] == 1 else values


def resize(image: Pixels, size: int) -> Pixels:
    """uint8 (H, W, 3) to (size, size, 3), bilinear with antialiasing."""
    from PIL import Image

    if image.shape[:2] == (size, size):
        return image
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))


def pixel_digest(image: Pixels) -> bytes:
    """SHA-256 of a decoded image before its resize: equal for the same picture in another file format."""
    digest = hashlib.sha256(f"{image.shape[0]}x{image.shape[1]}:".encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.digest()
