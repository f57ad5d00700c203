"""Random numbers of a key."""

from __future__ import annotations

import numpy as np
import pytest

from tledge.tensorflow_setup import tensorflow
from tledge.training.augmentation import keys_of
from tledge.training.counter_random import threefry, uniforms

DRAWS = np.asarray(uniforms(keys_of(0, 0, np.arange(10_000)), 4))


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [  # the known answers that Random123, the authors' library, is tested with
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_gives_the_published_answers(
    counter: tuple[int, int], key: tuple[int, int], expected: tuple[int, int]
) -> None:
    tf = tensorflow()
    words = [tf.constant(word, tf.uint32) for word in (*key, *counter)]
    assert tuple(int(word) for word in threefry(*words)) == expected


def test_numbers_are_uniform() -> None:
    assert DRAWS.dtype == np.float64
    assert 0 <= DRAWS.min() < DRAWS.max() < 1
    # Five standard errors of 10,000 draws.
    assert DRAWS.mean(axis=0) == pytest.approx(0.5, abs=5 * np.sqrt(1 / 12 / 10_000))
    assert DRAWS.var(axis=0) == pytest.approx(1 / 12, abs=5 * np.sqrt(1 / 180 / 10_000))
    counts = np.histogram(DRAWS, bins=16, range=(0, 1))[0]
    assert ((counts - 2500) ** 2 / 2500).sum() < 50  # chi-squared of 15 degrees of freedom: above it once in 90,000


def test_numbers_do_not_follow_each_other_their_neighbours_views_or_streams() -> None:
    rows = np.arange(10_000)
    others = [
        np.asarray(uniforms(keys_of(0, 1, rows), 4)),
        np.asarray(uniforms(keys_of(1, 0, rows), 4)),
        np.asarray(uniforms(keys_of(0, 0, rows), 4, stream=1)),
        np.roll(DRAWS, 1, axis=0),
    ]
    correlations = np.corrcoef(np.concatenate([DRAWS, *others], axis=1).T) - np.eye(20)
    assert np.abs(correlations).max() < 5 / np.sqrt(10_000)


def test_a_key_draws_the_same_numbers_alone_and_more_of_them_begin_with_the_same() -> None:
    assert np.array_equal(np.asarray(uniforms(keys_of(0, 0, np.array([123])), 3)), DRAWS[123:124, :3])


def test_keys_tell_seeds_views_and_photos_apart() -> None:
    keys = keys_of(3, 1, np.array([0, 5]))
    assert (keys.dtype, keys.shape, keys[:, 1].tolist()) == (np.int32, (2, 2), [0, 5])
    assert keys[0, 0] == keys[1, 0]
    assert len({int(keys_of(seed, view, np.array([0]))[0, 0]) for seed in range(20) for view in range(20)}) == 400
