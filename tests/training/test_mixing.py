"""MixUp and CutMix."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tledge.tensorflow_setup import tensorflow
from tledge.training.augmentation import keys_of
from tledge.training.mixing import mix

NUM_PHOTOS, SIZE = 40, 16
LABELS = np.eye(NUM_PHOTOS, dtype=np.float32)  # a class for each photo tells who was mixed with whom
PHOTOS = np.tile(np.arange(NUM_PHOTOS, dtype=np.float32)[:, None, None, None] * 6, (1, SIZE, SIZE, 3))
METHODS = {"mixup": (0.4, 0.0), "cutmix": (0.0, 1.0), "both": (0.4, 1.0)}


def _mix(mixup_alpha: float, cutmix_alpha: float, view: int = 0) -> tuple[Any, Any]:
    key = keys_of(0, view, np.array([0]))[0]
    photos, labels = mix(PHOTOS, LABELS, key, mixup_alpha, cutmix_alpha)
    return np.asarray(photos), np.asarray(labels)


def test_nothing_is_mixed_where_both_are_off() -> None:
    photos, labels = _mix(0.0, 0.0)
    assert np.array_equal(photos, PHOTOS)
    assert np.array_equal(labels, LABELS)


@pytest.mark.parametrize("method", METHODS)
def test_labels_sum_to_one_and_name_at_most_two_photos(method: str) -> None:
    photos, labels = _mix(*METHODS[method])
    assert (photos.dtype, photos.shape, labels.dtype) == (np.float32, PHOTOS.shape, np.float32)
    assert labels.sum(axis=1) == pytest.approx(1, abs=1e-6)
    assert labels.min() >= 0
    assert (labels > 0).sum(axis=1).max() == 2


@pytest.mark.parametrize("method", METHODS)
def test_a_label_holds_the_part_of_each_photo_that_is_in_the_picture(method: str) -> None:
    for view in range(5):
        photos, labels = _mix(*METHODS[method], view)
        # Each photo is of one level, so the mean level tells the shares.
        assert photos.mean(axis=(1, 2, 3)) == pytest.approx(labels @ PHOTOS[:, 0, 0, 0], rel=1e-4, abs=1e-3)


def test_mixup_blends_whole_photos_and_cutmix_pastes_boxes() -> None:
    blended, _ = _mix(*METHODS["mixup"])
    assert np.ptp(blended, axis=(1, 2, 3)).max() < 1e-3
    pasted, labels = _mix(*METHODS["cutmix"])
    for number, photo in enumerate(pasted):
        changed = photo[..., 0] != PHOTOS[number, ..., 0]
        rows, columns = changed.any(axis=1), changed.any(axis=0)
        assert np.array_equal(changed, rows[:, None] & columns)  # a rectangle
        assert np.abs(np.diff(rows.astype(int))).sum() <= 2  # in one piece
        assert labels[number, number] == pytest.approx(1 - changed.mean(), abs=1e-6) or not changed.any()


def test_with_both_photos_take_one_or_the_other() -> None:
    photos, _ = _mix(*METHODS["both"])
    boxes = np.array([0 < (photo == own).mean() < 1 for photo, own in zip(photos, PHOTOS, strict=True)])
    assert 0.2 < boxes.mean() < 0.8


def test_shares_are_of_the_beta_distribution() -> None:
    shares = []
    for view in range(50):
        labels = _mix(0.4, 0.0, view)[1]
        shares.append(np.diagonal(labels)[(labels > 0).sum(axis=1) == 2])
    drawn = np.concatenate(shares)
    assert drawn.mean() == pytest.approx(0.5, abs=0.05)
    assert drawn.var() == pytest.approx(1 / (4 * (2 * 0.4 + 1)), abs=0.02)  # of Beta(0.4, 0.4)


def test_the_key_decides() -> None:
    first, again, other = _mix(0.4, 1.0), _mix(0.4, 1.0), _mix(0.4, 1.0, view=1)
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


def test_it_is_part_of_a_graph() -> None:
    tf = tensorflow()
    data = tf.data.Dataset.from_tensor_slices((PHOTOS, LABELS)).batch(16)
    mixed = data.map(lambda photos, labels: mix(photos, labels, tf.constant([1, 2]), 0.2, 1.0))
    assert sum(len(labels) for _, labels in mixed) == NUM_PHOTOS
