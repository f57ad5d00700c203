"""Settings of augmentation, the function that they make, and the contact sheet."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from tledge.preprocessing import Pixels
from tledge.tensorflow_setup import tensorflow
from tledge.training.augmentation import augmenter, contact_sheet, keys_of
from tledge.training.augmentation_settings import PRESETS, Augmentation

SIZE = 33
RNG = np.random.default_rng(0)
PHOTOS = RNG.integers(0, 256, (20, SIZE, SIZE, 3), np.uint8)
KEYS = keys_of(0, 0, np.arange(20))
EVERYTHING = Augmentation(
    horizontal_flip=True, vertical_flip=True, rotation_degrees=30, shift=0.1, shear_degrees=10, zoom=0.2, crop=0.5,
    brightness=0.2, contrast=0.2, saturation=0.2, hue=0.05, randaugment_layers=2,
)  # fmt: skip


@functools.cache
def _augmenter(settings: Augmentation) -> Callable[[Any, Any], Any]:
    return augmenter(settings, SIZE)


def _augmented(photos: Pixels = PHOTOS, keys: Any = KEYS, **settings: Any) -> Pixels:
    return np.asarray(_augmenter(Augmentation(**settings))(photos, keys))


def _ramp(axis: int) -> Pixels:
    """20 photos whose level is six times the column (axis 2) or the row (axis 1): where a pixel is tells its origin."""
    levels = np.arange(SIZE, dtype=np.uint8) * 6
    shape = [1, 1, 1, 1]
    shape[axis] = SIZE
    return np.broadcast_to(levels.reshape(shape), PHOTOS.shape).copy()


def _origins(axis: int, **settings: Any) -> Any:
    """Column (axis 2) or row (axis 1) that each pixel came from: float (20, SIZE, SIZE)."""
    return _augmented(_ramp(axis), **settings)[..., 0] / 6


def test_settings_that_change_nothing_give_the_same_bytes() -> None:
    assert PRESETS["none"] == Augmentation()
    assert np.array_equal(_augmented(), PHOTOS)


@pytest.mark.parametrize("settings", [EVERYTHING, *PRESETS.values()], ids=["everything", *PRESETS])
def test_a_photo_is_changed_by_its_own_key_whatever_the_batch(settings: Augmentation) -> None:
    augment = _augmenter(settings)
    together = np.asarray(augment(PHOTOS, KEYS))
    assert (together.dtype, together.shape) == (np.uint8, PHOTOS.shape)
    order = RNG.permutation(20)
    assert np.array_equal(np.asarray(augment(PHOTOS[order], KEYS[order])), together[order])
    for number in (0, 7, 19):
        assert np.array_equal(np.asarray(augment(PHOTOS[[number]], KEYS[[number]]))[0], together[number])


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "none"])
def test_views_seeds_and_photos_differ(name: str) -> None:
    same = np.repeat(PHOTOS[:1], 20, axis=0)
    augment = _augmenter(PRESETS[name])
    views = [np.asarray(augment(same, keys_of(*key, np.arange(20)))) for key in ((0, 0), (0, 1), (1, 0))]
    assert len({picture.tobytes() for view in views for picture in view}) == 60


@pytest.mark.parametrize("name", PRESETS)
def test_presets_run_in_a_data_set(name: str) -> None:
    augment = _augmenter(PRESETS[name])
    data = tensorflow().data.Dataset.from_tensor_slices((PHOTOS, KEYS)).batch(8).map(augment, num_parallel_calls=2)
    assert np.array_equal(np.concatenate(list(data.as_numpy_iterator())), np.asarray(augment(PHOTOS, KEYS)))


@pytest.mark.parametrize(("setting", "axis"), [("horizontal_flip", 2), ("vertical_flip", 1)])
def test_flips_mirror_about_half_of_the_photos(setting: str, axis: int) -> None:
    keys = keys_of(0, 0, np.arange(400))
    photos = np.repeat(PHOTOS[:1], 400, axis=0)
    changed = _augmented(photos, keys, **{setting: True})
    mirrored = np.all(changed == np.flip(photos, axis), axis=(1, 2, 3))
    assert np.all(mirrored | np.all(changed == photos, axis=(1, 2, 3)))
    assert 150 < mirrored.sum() < 250  # five standard deviations


def test_a_setting_keeps_its_draws_when_another_is_turned_on() -> None:
    flipped = _augmented(_ramp(2), horizontal_flip=True)
    also_brighter = _augmented(_ramp(2), horizontal_flip=True, brightness=0.3)
    assert np.array_equal(flipped[:, 0, 0, 0] > 0, also_brighter[:, 0, 0, 0] > 0)


def test_rotations_stay_within_their_angle() -> None:
    middle = slice(SIZE // 2 - 5, SIZE // 2 + 6)
    origins = _origins(2, rotation_degrees=30)[:, middle, middle]
    # The origin's column moves by the angle's sine from row to row, and by its cosine from column to column.
    sines, cosines = np.diff(origins, axis=1).mean(axis=(1, 2)), np.diff(origins, axis=2).mean(axis=(1, 2))
    angles = np.degrees(np.arctan2(-sines, cosines))
    assert np.hypot(sines, cosines) == pytest.approx(1, abs=0.02)
    assert 15 < np.abs(angles).max() < 30.5
    assert angles.min() < 0 < angles.max()


@pytest.mark.parametrize("axis", [1, 2])
def test_shifts_stay_within_their_fraction(axis: int) -> None:
    moved = _origins(axis, shift=0.2)[:, 16, 16] - 16
    assert 0.1 * SIZE < np.abs(moved).max() < 0.2 * SIZE + 0.1
    assert moved.min() < 0 < moved.max()


def test_zooms_stay_within_their_fraction_and_keep_the_aspect() -> None:
    factors = [1 / np.diff(_origins(axis, zoom=0.3)[:, 12:21, 12:21], axis=axis).mean(axis=(1, 2)) for axis in (1, 2)]
    assert factors[0] == pytest.approx(factors[1], abs=0.02)
    assert 0.69 < factors[0].min() < 0.85
    assert 1.15 < factors[0].max() < 1.31


def test_shears_stay_within_their_angle_and_leave_rows_in_place() -> None:
    middle = slice(11, 22)
    tangents = -np.diff(_origins(2, shear_degrees=20)[:, middle, middle], axis=1).mean(axis=(1, 2))
    assert 10 < np.degrees(np.arctan(np.abs(tangents))).max() < 20.5
    assert tangents.min() < 0 < tangents.max()
    assert np.array_equal(_augmented(_ramp(1), shear_degrees=20), _ramp(1))


@pytest.mark.parametrize("crop", [0.3, 0.9])
def test_crops_lie_in_the_photo_with_the_stated_area_and_aspect(crop: float) -> None:
    across, down = _origins(2, crop=crop), _origins(1, crop=crop)
    inner = slice(1, -1)  # at the very edge lies a part of a pixel, mirrored
    width = np.diff(across[:, inner, inner], axis=2).mean(axis=(1, 2))
    height = np.diff(down[:, inner, inner], axis=1).mean(axis=(1, 2))
    slack = 0.02  # bytes are rounded
    assert crop - slack < (width * height).min() < crop + 0.3
    assert (width * height).max() < 1 + slack
    assert np.all((width / height < 4 / 3 + 2 * slack) & (width / height > 3 / 4 - slack))
    assert np.ptp(width / height) > 0.02
    for origins, axis in ((across, 2), (down, 1)):
        steps = np.diff(origins[:, inner, inner], axis=axis)
        assert steps.min() > -1e-9  # nothing mirrored: the window does not reach over the edge
        assert np.ptp(origins[:, 16, 16]) > 0.5 * (1 - crop)


@pytest.mark.parametrize("setting", ["saturation", "hue"])
def test_grey_photos_stay_as_they_are(setting: str) -> None:
    grey = np.repeat(PHOTOS[..., :1], 3, axis=-1)
    assert np.array_equal(_augmented(grey, **{setting: 0.5}), grey)
    assert not np.array_equal(_augmented(**{setting: 0.5}), PHOTOS)


def test_brightness_and_contrast_stay_within_their_fractions() -> None:
    flat = np.full(PHOTOS.shape, 100, np.uint8)
    levels = _augmented(flat, brightness=0.2)[:, 0, 0, 0]
    assert 80 <= levels.min() < 90
    assert 110 < levels.max() <= 120
    assert np.array_equal(_augmented(flat, contrast=0.5), flat)
    half = flat.copy()
    half[:, :, : SIZE // 2] = 120
    changed = _augmented(half, contrast=0.5).astype(int)
    ratios = (changed[:, 0, 0, 0] - changed[:, 0, -1, 0]) / 20
    assert 0.45 <= ratios.min() < 0.8
    assert 1.2 < ratios.max() <= 1.55


def test_nothing_black_comes_in_from_outside() -> None:
    moves = {key: value for key, value in PRESETS["strong"] if key not in ("brightness", "contrast")}
    bright = np.full(PHOTOS.shape, (200, 180, 190), np.uint8)
    changed = _augmented(bright, **moves)
    assert changed.min() > 150


@pytest.mark.parametrize(
    "settings", [{"zoom": 1}, {"crop": 0}, {"rotation_degrees": 270}, {"randaugment_magnitude": 11}, {"flip": True}]
)
def test_settings_out_of_range_or_unknown_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(settings))):
        Augmentation(**settings)


def test_the_contact_sheet_shows_the_originals_and_seven_views_of_six(tmp_path: Path) -> None:
    first, again = tmp_path / "first.png", tmp_path / "again.png"
    for path in (first, again):
        contact_sheet(PHOTOS, PRESETS["light"], 3, path)
    assert first.read_bytes() == again.read_bytes()
    with Image.open(first) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (8 * SIZE + 7 * 4, 6 * SIZE + 5 * 4))
        sheet = np.asarray(image)
    step = SIZE + 4
    tiles = np.stack(
        [
            [sheet[row * step :, column * step :][:SIZE, :SIZE] for column in range(8)]
            for row in range(6)
        ]
    )  # fmt: skip
    assert np.array_equal(tiles[:, 0], PHOTOS[:6])
    assert len({tile.tobytes() for row in tiles for tile in row}) == 48
    assert np.all(sheet[SIZE:step] == 255)
    assert np.all(sheet[:, SIZE:step] == 255)


def test_a_contact_sheet_of_fewer_photos_is_shorter(tmp_path: Path) -> None:
    contact_sheet(PHOTOS[:2], PRESETS["none"], 0, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.size == (8 * SIZE + 7 * 4, 2 * SIZE + 4)
