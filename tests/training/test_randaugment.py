"""RandAugment's operations against Pillow's, and a layer of them over a batch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from tledge.preprocessing import Pixels
from tledge.tensorflow_setup import tensorflow
from tledge.training.augmentation import keys_of
from tledge.training.randaugment import OPERATIONS, randaugment

SIZE = 40
RNG = np.random.default_rng(0)
# A flat picture, a dark one with few levels, one with a narrow range, and noise.
PHOTOS = np.stack(
    [
        np.full((SIZE, SIZE, 3), 77, np.uint8),
        RNG.integers(0, 4, (SIZE, SIZE, 3), np.uint8),
        RNG.integers(60, 190, (SIZE, SIZE, 3), np.uint8),
        RNG.integers(0, 256, (SIZE, SIZE, 3), np.uint8),
    ]
)


def _apply(name: str, strength: float, photos: Pixels = PHOTOS) -> Pixels:
    return np.asarray(OPERATIONS[name](tensorflow().constant(photos), np.full(len(photos), strength)))


def _pillow(change: Callable[[Image.Image], Image.Image]) -> Pixels:
    return np.stack([np.asarray(change(Image.fromarray(photo))) for photo in PHOTOS])


@pytest.mark.parametrize(
    ("name", "strength", "change"),
    [
        ("identity", 1, lambda image: image),
        ("autocontrast", 1, ImageOps.autocontrast),
        ("equalize", 1, ImageOps.equalize),
        ("solarize", 0.5, lambda image: ImageOps.solarize(image, 128)),
        ("solarize", -1, ImageOps.invert),
        ("posterize", 1, lambda image: ImageOps.posterize(image, 4)),
        ("posterize", -0.5, lambda image: ImageOps.posterize(image, 6)),
        ("posterize", 0, lambda image: image),
    ],
)
def test_operations_on_levels_are_pillows_to_the_byte(
    name: str, strength: float, change: Callable[[Image.Image], Image.Image]
) -> None:
    assert np.array_equal(_apply(name, strength), _pillow(change))


@pytest.mark.parametrize("strength", [-1, -0.4, 0.7, 1])
@pytest.mark.parametrize(
    ("name", "enhancer"),
    [
        ("brightness", ImageEnhance.Brightness),
        ("contrast", ImageEnhance.Contrast),
        ("color", ImageEnhance.Color),
        ("sharpness", ImageEnhance.Sharpness),
    ],
)
def test_enhancements_are_pillows_within_one_level(
    name: str, enhancer: type[ImageEnhance._Enhance], strength: float
) -> None:
    expected = _pillow(lambda image: enhancer(image).enhance(1 + 0.9 * strength)).astype(int)
    assert np.abs(_apply(name, strength) - expected).max() <= 1  # Pillow truncates, and rounds the grey it mixes in


def test_movements_go_as_far_as_stated() -> None:
    columns = round(0.45 * SIZE)
    assert np.array_equal(_apply("translate x", 1)[:, :, columns:], PHOTOS[:, :, :-columns])
    assert np.array_equal(_apply("translate y", -1)[:, :-columns], PHOTOS[:, columns:])
    smooth = np.stack([np.asarray(Image.fromarray(PHOTOS[3]).filter(ImageFilter.GaussianBlur(4)))])
    turned = np.asarray(Image.fromarray(smooth[0]).rotate(30, Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(_apply("rotate", 1, smooth)[0] - turned)[10:-10, 10:-10].max() <= 2
    for name, matrix in (("shear x", (1, -0.3, 0.15 * SIZE, 0, 1, 0)), ("shear y", (1, 0, 0, -0.3, 1, 0.15 * SIZE))):
        picture = Image.fromarray(smooth[0])
        sheared = picture.transform((SIZE, SIZE), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
        assert np.abs(_apply(name, 1, smooth)[0] - np.asarray(sheared).astype(int))[10:-10, 10:-10].max() <= 2


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_that_no_photo_drew_is_no_trouble(name: str) -> None:
    assert _apply(name, 1, PHOTOS[:0]).shape == (0, SIZE, SIZE, 3)


def test_every_operation_is_drawn_and_photos_go_through_one_each() -> None:
    photos = np.repeat(PHOTOS[2:3], 300, axis=0)[:, :24, :24]
    changed = np.asarray(randaugment(tensorflow().constant(photos), keys_of(0, 0, np.arange(300)), 1, 10.0))
    made = {(name, sign): _apply(name, sign, photos[:1])[0] for name in OPERATIONS for sign in (-1, 1)}
    counts = dict.fromkeys(made, 0)
    for photo in changed:
        counts[next(key for key, picture in made.items() if np.array_equal(photo, picture))] += 1
    totals = [counts[name, -1] + counts[name, 1] for name in OPERATIONS]
    assert (min(totals) >= 5, max(totals) <= 43) == (True, True)  # 21 on average, with a standard deviation of 4.5
    for name in OPERATIONS:
        if not np.array_equal(made[name, -1], made[name, 1]):
            assert min(counts[name, -1], counts[name, 1]) >= 1, name


def test_layers_follow_each_other_with_draws_of_their_own() -> None:
    photos, keys = tensorflow().constant(np.repeat(PHOTOS[3:], 50, axis=0)), keys_of(0, 0, np.arange(50))
    one, two = (np.asarray(randaugment(photos, keys, layers, 5.0)) for layers in (1, 2))
    assert np.array_equal(np.asarray(randaugment(photos, keys, 0, 5.0)), np.asarray(photos))
    assert np.any(one != two, axis=(1, 2, 3)).mean() > 0.7  # one draw in fourteen is the identity
