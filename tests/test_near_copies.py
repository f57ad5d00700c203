"""The same photo encoded or resized again is near, others are not; photos that are all alike are no copies of each other."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tledge.near_copies import (
    LENGTH,
    MAX_DISTANCE,
    MOST_AROUND,
    Fingerprints,
    fingerprint,
    neighbours,
)
from tledge.preprocessing import decode, resize


def _encoded(image: Image.Image, encoding: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, encoding, **options)
    return out.getvalue()


AGAIN: dict[str, Callable[[Image.Image], bytes]] = {
    "JPEG of a low quality": lambda image: _encoded(image, "JPEG", quality=40),
    "WebP": lambda image: _encoded(image, "WEBP", quality=60),
    "half its size": lambda image: _encoded(image.resize((image.width // 2, image.height // 2)), "JPEG", quality=85),
    "larger": lambda image: _encoded(image.resize((image.width * 3 // 2, image.height * 2)), "PNG"),
}


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    """Parts of two photos of scikit-learn, no two of the same."""
    from sklearn.datasets import load_sample_images

    return [
        Image.fromarray(image[top : top + 200, left : left + 200])
        for image in load_sample_images().images
        for top in (0, 210)
        for left in (0, 210, 420)
    ]


def _fingerprints(photos: list[Image.Image], size: int = 64) -> Fingerprints:
    return np.array([fingerprint(resize(decode(_encoded(photo, "PNG")), size)) for photo in photos])


@pytest.mark.parametrize("how", AGAIN)
@pytest.mark.parametrize("size", [64, 96, 224])
def test_a_photo_that_is_encoded_or_resized_again_is_a_copy_of_itself_and_of_no_other(
    photos: list[Image.Image], how: str, size: int
) -> None:
    own = _fingerprints(photos, size)
    again = np.array([fingerprint(resize(decode(AGAIN[how](photo)), size)) for photo in photos])
    found = neighbours(again, own)
    assert found.nearest.tolist() == list(range(len(photos)))
    assert found.is_copy.all()
    others = [neighbours(again[[row]], np.delete(own, row, axis=0)).distance[0] for row in range(len(photos))]
    assert min(others) > 2 * MAX_DISTANCE


@pytest.mark.parametrize("size", [1, 15, 16, 28, 33])
def test_a_fingerprint_is_the_means_of_256_cells_at_any_size(size: int) -> None:
    assert fingerprint(np.full((size, size, 3), 77, np.uint8)).tolist() == [77] * LENGTH
    halves = np.zeros((size, size, 3), np.uint8)
    halves[size // 2 :] = 200
    if size >= 15:
        means = fingerprint(halves).reshape(16, 16)
        assert (means[:7] == 0).all()
        assert (means[9:] == 200).all()


def test_distances_are_exact_and_blocks_do_not_change_them(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    others = rng.integers(0, 256, (300, LENGTH), np.uint8)
    nudged = np.clip(others[::-1][:200].astype(int) + rng.integers(-3, 4, (200, LENGTH)), 0, 255).astype(np.uint8)
    black_and_white = np.array([[0] * LENGTH, [255] * LENGTH], np.uint8)
    photos, others = np.concatenate([nudged, black_and_white]), np.concatenate([others, black_and_white])
    expected = np.sqrt(((photos[:, None].astype(float) - others[None]) ** 2).mean(axis=2))
    for block in (4096, 7):
        monkeypatch.setattr("tledge.near_copies._BLOCK", block)
        found = neighbours(photos, others)
        assert (found.nearest == expected.argmin(axis=1)).all()
        assert (found.distance == expected.min(axis=1)).all()
        assert (found.close == (expected <= MAX_DISTANCE).sum(axis=1)).all()
        assert (found.around == (expected <= 2 * MAX_DISTANCE).sum(axis=1)).all()


def test_nothing_is_near_nothing() -> None:
    none, some = np.empty((0, LENGTH), np.uint8), np.zeros((2, LENGTH), np.uint8)
    assert not neighbours(some, none).is_near.any()
    assert not neighbours(none, some).is_copy.any()


def _frames(count: int, seed: int) -> Fingerprints:
    """A fixed camera: one picture, noise, and a thing somewhere in it."""
    rng = np.random.default_rng(seed)
    frames = np.tile(np.linspace(30, 220, LENGTH), (count, 1)) + rng.normal(0, 1, (count, LENGTH))
    frames[np.arange(count), rng.integers(0, LENGTH, count)] += 40
    return np.clip(frames, 0, 255).astype(np.uint8)


def test_in_a_series_of_a_fixed_camera_none_is_called_a_copy() -> None:
    found = neighbours(_frames(200, 0), _frames(60, 1))
    assert found.is_near.all()
    assert not found.is_copy.any()


def test_where_photos_differ_by_chance_without_a_gap_the_nearest_are_no_copies() -> None:
    # A thing at any place of a plane: neighbours are near by chance, a few of each photo.
    places = np.random.default_rng(4).uniform(0, 240, (400, 2))
    photos = np.full((400, LENGTH), 100, np.uint8)
    photos[:, :128] = places[:, :1]
    photos[:, 128:] = places[:, 1:]
    found = neighbours(photos[:200], photos[200:])
    assert 10 < np.count_nonzero(found.is_near & (found.around <= MOST_AROUND)) < 100
    assert not found.is_copy.any()


def test_copies_are_found_beside_a_series_and_a_photo_that_is_there_a_few_times_is_one() -> None:
    rng = np.random.default_rng(2)
    photos = rng.integers(0, 256, (300, LENGTH), np.uint8)
    thrice = np.repeat(photos[:1], MOST_AROUND, axis=0)
    found = neighbours(np.concatenate([photos, _frames(50, 0)]), np.concatenate([photos[100:], thrice, _frames(60, 1)]))
    assert found.is_copy.tolist() == [True] + [False] * 99 + [True] * 200 + [False] * 50


def test_where_most_that_are_near_do_not_stand_apart_none_is_called_a_copy() -> None:
    photos = np.random.default_rng(3).integers(0, 256, (10, LENGTH), np.uint8)
    found = neighbours(np.concatenate([photos, _frames(50, 0)]), np.concatenate([photos, _frames(60, 1)]))
    assert found.is_near.all()
    assert not found.is_copy.any()
