"""Movements and colours of photos, against Pillow and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from tledge.normalization import LUMA
from tledge.preprocessing import Pixels
from tledge.training.photo_operations import Colour, Geometry, mean_luma, recolour, to_bytes, warp

SIZE = 33
RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)


def _smooth(seed: int = 0) -> Pixels:
    """A picture without edges, so that interpolations agree: uint8 (SIZE, SIZE, 3)."""
    noise = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), np.uint8)
    return np.asarray(Image.fromarray(noise).resize((SIZE, SIZE), Image.Resampling.BICUBIC))


def _moved(pixels: Pixels, geometry: Geometry) -> Pixels:
    return np.asarray(to_bytes(warp(pixels.astype(np.float32), geometry)))


def _coloured(pixels: Pixels, colour: Colour) -> Pixels:
    return np.asarray(to_bytes(recolour(pixels.astype(np.float32), pixels, colour)))


def test_nothing_to_change_changes_nothing() -> None:
    assert np.array_equal(_moved(NOISE, Geometry()), NOISE)
    assert np.array_equal(_coloured(NOISE, Colour()), NOISE)


def test_a_flip_mirrors_every_pixel() -> None:
    assert np.array_equal(_moved(NOISE, Geometry(flip_x=-1.0)), NOISE[:, :, ::-1])
    assert np.array_equal(_moved(NOISE, Geometry(flip_y=-1.0)), NOISE[:, ::-1])


def test_each_photo_has_its_own_change() -> None:
    moved = _moved(NOISE, Geometry(flip_x=np.array([1.0, -1.0, 1.0])))
    assert np.array_equal(moved, np.stack([NOISE[0], NOISE[1, :, ::-1], NOISE[2]]))


def test_a_quarter_turn_is_exact_and_counter_clockwise() -> None:
    assert np.array_equal(_moved(NOISE, Geometry(angle=math.pi / 2)), np.rot90(NOISE, axes=(1, 2)))


@pytest.mark.parametrize("degrees", [-40, 7, 30])
def test_a_turn_by_any_angle_is_pillows(degrees: int) -> None:
    picture = _smooth()
    expected = np.asarray(Image.fromarray(picture).rotate(degrees, Image.Resampling.BILINEAR)).astype(int)
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    inside = x**2 + y**2 < (SIZE / 2 - 2) ** 2  # past the edges Pillow is black
    moved = _moved(picture[None], Geometry(angle=math.radians(degrees)))[0]
    assert np.abs(moved - expected)[inside].max() <= 2  # Pillow's coordinates are fixed-point numbers


def test_a_shift_goes_right_and_down_and_uncovers_the_mirror_image() -> None:
    moved = _moved(NOISE, Geometry(shift_x=3 / SIZE, shift_y=2 / SIZE))
    assert np.array_equal(moved[:, 2:, 3:], NOISE[:, :-2, :-3])
    assert np.array_equal(moved[:, 2:, :3], NOISE[:, :-2, 2::-1])


def test_a_zoom_enlarges_about_the_centre() -> None:
    moved = _moved(NOISE, Geometry(zoom=2.0))
    assert np.array_equal(moved[:, ::2, ::2], NOISE[:, 8:25, 8:25])  # every second pixel falls on one of the original


def test_a_shear_moves_rows_or_columns_in_proportion_to_their_distance_from_the_centre() -> None:
    middle = SIZE // 2
    across, along = _moved(NOISE, Geometry(shear_x=1.0)), _moved(NOISE, Geometry(shear_y=1.0))
    for distance in (-4, 0, 5):
        line = middle + distance
        kept = slice(max(0, distance), SIZE + min(0, distance))
        came = slice(max(0, -distance), SIZE - max(0, distance))
        assert np.array_equal(across[:, line, kept], NOISE[:, line, came])
        assert np.array_equal(along[:, kept, line], NOISE[:, came, line])


def test_a_crop_fills_the_photo_with_its_window() -> None:
    # The window of 17 x 17 pixels whose corner pixels lie at column 10, row 4; every second pixel falls on an original.
    left, top, window = 10, 4, 17
    geometry = Geometry(
        crop_width=0.5, crop_height=0.5,
        crop_x=(left + (window - 1) / 2 - (SIZE - 1) / 2) / SIZE,
        crop_y=(top + (window - 1) / 2 - (SIZE - 1) / 2) / SIZE,
    )  # fmt: skip
    moved = _moved(NOISE, geometry)
    assert np.array_equal(moved[:, ::2, ::2], NOISE[:, top : top + window, left : left + window])


def test_the_steps_follow_in_their_stated_order() -> None:
    steps = [Geometry(flip_x=-1.0), Geometry(zoom=1.25), Geometry(angle=0.3), Geometry(shift_x=0.1)]
    picture = _smooth()[None].astype(np.float32)
    one_by_one = picture
    for step in steps:
        one_by_one = np.asarray(warp(one_by_one, step))
    at_once = np.asarray(warp(picture, Geometry(flip_x=-1.0, zoom=1.25, angle=0.3, shift_x=0.1)))
    # Each further interpolation smooths a little more; in another order the mean differs by tens.
    assert np.abs(one_by_one - at_once)[:, 8:-8, 8:-8].mean() < 2


@pytest.mark.parametrize(
    ("colour", "enhancer"),
    [
        (Colour(brightness=1.3), ImageEnhance.Brightness),
        (Colour(contrast=0.6), ImageEnhance.Contrast),
        (Colour(contrast=1.3), ImageEnhance.Contrast),
        (Colour(saturation=0.0), ImageEnhance.Color),
        (Colour(saturation=1.3), ImageEnhance.Color),
    ],
)
def test_colours_are_pillows(colour: Colour, enhancer: type[ImageEnhance._Enhance]) -> None:
    factor = next(value for value in (colour.brightness, colour.contrast, colour.saturation) if value != 1)
    expected = np.stack([np.asarray(enhancer(Image.fromarray(picture)).enhance(factor)) for picture in NOISE])
    # Pillow rounds the grey picture or its mean to whole levels before it mixes them in.
    assert np.abs(_coloured(NOISE, colour).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("colour", [Colour(saturation=1.9), Colour(saturation=0.2), Colour(hue=2.0), Colour(hue=-0.3)])
def test_saturation_and_hue_keep_grey_grey_and_every_luma(colour: Colour) -> None:
    grey = np.repeat(NOISE[..., :1], 3, axis=-1)
    assert np.array_equal(_coloured(grey, colour), grey)
    changed = np.asarray(recolour(NOISE.astype(np.float32), NOISE, colour))
    assert changed @ np.array(LUMA) == pytest.approx(NOISE @ np.array(LUMA), abs=1e-3)  # float32 rounds


def test_a_hue_turns_the_colour_in_the_yiq_plane() -> None:
    to_yiq = np.array([LUMA, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112)])
    changed = np.asarray(recolour(NOISE.astype(np.float32), NOISE, Colour(hue=0.7)))
    (_, i, q), (_, turned_i, turned_q) = (np.moveaxis(values @ to_yiq.T, -1, 0) for values in (NOISE, changed))
    assert turned_i + 1j * turned_q == pytest.approx((i + 1j * q) * np.exp(0.7j), abs=1e-3)  # float32 rounds


def test_a_full_turn_of_the_hue_leads_back() -> None:
    once = _coloured(NOISE, Colour(hue=2 * math.pi / 3))
    assert np.abs(once.astype(int) - NOISE).mean() > 20
    assert np.array_equal(_coloured(NOISE, Colour(hue=2 * math.pi)), NOISE)


def test_mean_luma_is_the_mean_of_the_pixels_luma() -> None:
    assert np.asarray(mean_luma(NOISE)) == pytest.approx((NOISE @ np.array(LUMA)).mean(axis=(1, 2)))


def test_bytes_are_rounded_and_clipped() -> None:
    values = np.array([-3, 0.4, 0.6, 254.4, 254.6, 255.4, 300], np.float32)
    assert np.asarray(to_bytes(values)).tolist() == [0, 0, 1, 254, 255, 255, 255]
