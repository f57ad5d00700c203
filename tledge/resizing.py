"""This module says how a picture of any shape becomes a square of the input's size, as a record, as text and as pixels.

The text is one grammar for options, records and artifacts: ``squeeze``, ``crop:N`` or ``pad``, then an interpolation
where it is not bilinear, then ``no-antialias`` where the picture is only sampled.
"""

from __future__ import annotations

import re
from typing import Any, Literal, NamedTuple, Self, get_args

import numpy as np
import numpy.typing as npt

from tledge.errors import InputError, unknown

Pixels = npt.NDArray[np.uint8]
Fit = Literal["squeeze", "crop", "pad"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]

LARGEST_SIDE = 2048  # of ``crop:N``: no network has a larger input
_MOST_CROPPED = (
    1 << 24
)  # pixels of which a centre is cropped: at N = 256 the longer side may have 256 times the shorter
_STRIP_PIXELS = 1 << 20
_BICUBIC_A = -0.5  # Keys' kernel, as in TensorFlow and in Pillow's antialiased resize
_FITS: dict[str, Fit] = {one: one for one in get_args(Fit)}
_INTERPOLATIONS: dict[str, Interpolation] = {one: one for one in get_args(Interpolation)}
_ANTIALIAS = {"antialias": True, "no-antialias": False}
_MEANINGS: dict[Fit, str] = {
    "squeeze": "to the input size (aspect not kept)",
    "crop": "of the shorter side to {side} pixels (aspect kept), of which the centre of the input size is cropped",
    "pad": "of the longer side to the input size (aspect kept), centred on black",
}


class Resize(NamedTuple):
    """A resize says how a picture becomes S x S pixels.

    Attributes:
        fit: ``squeeze`` resizes both sides to S. ``crop`` resizes the shorter side to ``shorter_side`` and the longer one
            to ``int(shorter_side * longer / shorter)``, and crops the centre of S x S; the crop begins at
            ``int(round((side - S) / 2))``, as torchvision's does. ``pad`` resizes the longer side to S, the shorter one
            to ``int(S * shorter / longer)``, and puts black around. Of an odd number of black lines the one more is at
            the right or at the bottom. ``tf.image.resize_with_pad`` makes the same picture, and puts it a line higher or
            further to the left where the number is even and the shorter side was rounded.
        shorter_side: is for ``crop`` alone: N of ``crop:N``, in pixels.
        interpolation: with antialiasing it is the filter of Pillow's ``resize``, whose support grows with the shrinking.
            Without, the picture is sampled at half-pixel centres, as ``tf.image.resize`` does. ``nearest`` takes the
            pixel ``floor((i + 0.5) * scale)`` for the pixel i, in exact arithmetic. ``bicubic`` has a = -0.5; PyTorch's
            without antialiasing has a = -0.75, and gives other pixels.
        antialias: whether shrinking averages. ``lanczos`` always does, and ``nearest`` never.
    """

    fit: Fit = "squeeze"
    shorter_side: int | None = None
    interpolation: Interpolation = "bilinear"
    antialias: bool = True

    def __str__(self) -> str:
        words = [self.fit if self.shorter_side is None else f"{self.fit}:{self.shorter_side}"]
        if self.interpolation != "bilinear":
            words.append(self.interpolation)
        if not self.antialias and self.interpolation != "nearest":
            words.append("no-antialias")
        return ",".join(words)

    @property
    def name(self) -> str:
        """Return the text without colons and commas, for names of files."""
        return str(self).replace(":", "").replace(",", "-")

    def in_words(self) -> str:
        """Describe the resize, as a part of a sentence."""
        with_or_without = "with" if self.antialias else "without"
        if self.interpolation == "nearest":
            how = "resize by the nearest pixel"
        else:
            how = f"{self.interpolation} resize {with_or_without} antialiasing"
        return f"{how} {_MEANINGS[self.fit].format(side=self.shorter_side)}"

    def checked(self, size: int | None = None) -> Self:
        """Return the resize itself, if there is such a one, and if it gives pixels of ``size`` where that is named.

        Raises InputError otherwise.
        """
        if problem := self._problem(size):
            raise InputError(f"resize {str(self)!r}: {problem}")
        return self

    def _problem(self, size: int | None) -> str | None:
        fit, side = self.fit, self.shorter_side
        for word, known in ((fit, _FITS), (self.interpolation, _INTERPOLATIONS)):
            if word not in known:
                return str(unknown("word", word, known))
        is_crop, too_small = fit == "crop", size is not None and side is not None and side < size
        is_lanczos, is_nearest = self.interpolation == "lanczos", self.interpolation == "nearest"
        problems = (
            (is_crop and side is None, "say to how many pixels the shorter side is resized, as in crop:256"),
            (not is_crop and side is not None, f"{fit} takes no number of pixels: drop it, or use crop:{side}"),
            (
                side is not None and not 1 <= side <= LARGEST_SIDE,
                f"the shorter side can have from 1 to {LARGEST_SIDE:,} pixels",
            ),
            (too_small, f"no {size} x {size} pixels can be cropped from a side of {side}. Use crop:{size} or more."),
            (is_lanczos and not self.antialias, "lanczos is always antialiased. Drop no-antialias, or use bicubic."),
            (is_nearest and self.antialias, "nearest is never antialiased. Drop antialias, or use bilinear."),
        )
        return next((problem for is_so, problem in problems if is_so), None)

    def resized_size(self, width: int, height: int, size: int) -> tuple[int, int]:
        """Return the width and height of a picture after its resize, before it is cropped or padded to ``size``."""
        shorter, longer = sorted((width, height))
        if self.fit == "squeeze":
            return size, size
        if self.shorter_side is not None:
            one, other = self.shorter_side * longer // shorter, self.shorter_side
        else:
            one, other = size, max(1, size * shorter // longer)
        return (one, other) if width >= height else (other, one)


SQUEEZE = Resize()


def parse_resize(text: str) -> Resize:
    """Parse a resize such as ``crop:256,bicubic`` or ``squeeze,no-antialias``.

    ``str`` of a resize is the shortest such text. Raises InputError for any other text, with the nearest known word.
    """
    first, *others = text.strip().lower().split(",")
    fit, colon, number = first.partition(":")
    if fit not in _FITS:
        raise _unknown_word(text, fit, ("squeeze", "crop:N", "pad"))
    if colon and not re.fullmatch(r"[0-9]{1,9}", number):
        raise InputError(f"resize {text!r}: use a number of pixels after {fit}:, as in crop:256")
    interpolation: Interpolation | None = None
    antialias: bool | None = None
    for word in others:
        if word in _INTERPOLATIONS and interpolation is None:
            interpolation = _INTERPOLATIONS[word]
        elif word in _ANTIALIAS and antialias is None:
            antialias = _ANTIALIAS[word]
        elif word in (*_INTERPOLATIONS, *_ANTIALIAS):
            raise InputError(f"resize {text!r}: {word!r} is one word too many. Keep one interpolation.")
        else:
            raise _unknown_word(text, word, (*_INTERPOLATIONS, *_ANTIALIAS))
    if antialias is None:
        antialias = interpolation != "nearest"
    return Resize(_FITS[fit], int(number) if colon else None, interpolation or "bilinear", antialias).checked()


def _unknown_word(text: str, word: str, known: tuple[str, ...]) -> InputError:
    return InputError(f"resize {text!r}: {unknown('word', word, known)}")


def checked_resize(given: Resize | str | None) -> Resize:
    """Return a resize that was given as a record or as text; None is the default. Raises InputError for anything else."""
    if given is None:
        return SQUEEZE
    if isinstance(given, Resize):
        return given.checked()
    if isinstance(given, str):
        return parse_resize(given)
    raise InputError(f"resize={given!r}: give a text such as 'crop:256,bicubic', or a Resize")


def is_line(width: int, height: int, size: int, resize: Resize) -> bool:
    """Return whether a picture is so long and thin that ``crop`` would make far more pixels than it keeps."""
    wide, high = resize.resized_size(width, height, size)
    return resize.fit == "crop" and wide * high > _MOST_CROPPED


def resized(
    image: Any,
    size: int,
    resize: Resize,
    whole: tuple[int, int] | None = None,
    box: tuple[float, float, float, float] | None = None,
) -> Pixels:
    """Bring a Pillow image in RGB to uint8 (size, size, 3).

    ``whole`` is the width and height of the picture where ``image`` was decoded at a part of its size, and ``box`` the
    area of ``image`` that shows the picture. Such an image must not be sampled without antialiasing.

    Raises InputError where ``resize`` gives no pixels of this size.
    """
    from PIL import Image

    resize.checked(size)
    whole_width, whole_height = whole or image.size
    width, height = resize.resized_size(whole_width, whole_height, size)
    left, top = (_crop_start(side, size) for side in (width, height))
    columns, rows = (
        range(max(0, first), max(0, first) + min(side, size)) for first, side in ((left, width), (top, height))
    )
    if resize.antialias:
        filters = Image.Resampling
        how = {"bilinear": filters.BILINEAR, "bicubic": filters.BICUBIC, "lanczos": filters.LANCZOS}[
            resize.interpolation
        ]
        made = image.resize((width, height), how, box)
        if resize.fit == "crop":
            made = made.crop((columns.start, rows.start, columns.stop, rows.stop))
        pixels = np.asarray(made)
    else:
        across = _taps(image.width, width, columns, resize.interpolation)
        down = _taps(image.height, height, rows, resize.interpolation)
        pixels = _sampled(image, across, down)
    if resize.fit != "pad":
        return pixels
    squared = np.zeros((size, size, 3), np.uint8)
    left, top = (size - width) // 2, (size - height) // 2
    squared[top : top + height, left : left + width] = pixels
    return squared


def _crop_start(side: int, size: int) -> int:
    return round((side - size) / 2)  # as torchvision: of two numbers that are equally near, the even one


class _Taps(NamedTuple):
    """The pixels of one side that make each sample, int64 (n, T), and their weights, float32 (n, T)."""

    places: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]


def _taps(length: int, made: int, wanted: range, interpolation: Interpolation) -> _Taps:
    """Say what makes the samples ``wanted`` of a side of ``length`` pixels that is resized to ``made`` pixels."""
    numbers = np.arange(wanted.start, wanted.stop, dtype=np.int64)
    if interpolation == "nearest":
        return _Taps(((2 * numbers + 1) * length // (2 * made))[:, None], np.ones((len(numbers), 1), np.float32))
    centres = (numbers + 0.5) * (length / made) - 0.5
    reach = 1 if interpolation == "bilinear" else 2
    places = np.floor(centres).astype(np.int64)[:, None] + np.arange(1 - reach, 1 + reach)
    distances = np.abs(centres[:, None] - places)
    if interpolation == "bilinear":
        weights = 1 - distances
    else:
        weights = _keys(distances) * ((places >= 0) & (places < length))
        weights /= weights.sum(1, keepdims=True)
    return _Taps(np.clip(places, 0, length - 1), weights.astype(np.float32))


def _keys(distances: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return Keys' cubic convolution kernel at distances of up to 2 pixels.

    It is that of "Cubic convolution interpolation for digital image processing", IEEE, 1981.
    """
    a, x = _BICUBIC_A, distances
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, far)


def _sampled(image: Any, across: _Taps, down: _Taps) -> Pixels:
    """Sample a Pillow image, strip by strip: of the rows that are needed alone, and first along them."""
    needed, places = np.unique(down.places, return_inverse=True)
    made = np.empty((len(needed), len(across.places), 3), np.float32)
    step = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, step):
        first, last = np.searchsorted(needed, (top, top + step))
        if first == last:
            continue
        strip = np.asarray(image.crop((0, top, image.width, min(top + step, image.height))))[needed[first:last] - top]
        made[first:last] = sum(
            strip[:, across.places[:, tap]] * across.weights[None, :, tap, None]
            for tap in range(across.places.shape[1])
        )
    places = places.reshape(down.places.shape)
    values = sum(made[places[:, tap]] * down.weights[:, tap, None, None] for tap in range(down.places.shape[1]))
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
