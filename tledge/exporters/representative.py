"""This module chooses the representative data set: the training photos that set the ranges of an int8 file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tledge.datasets.run_photos import Member, SplitPhotos
from tledge.datasets.splits import split_digest
from tledge.errors import InputError
from tledge.near_copies import Fingerprints, neighbours
from tledge.records import CalibrationRecord

DEFAULT_SAMPLES = 200


def require_samples(count: int) -> None:
    """Raise InputError where the number of representative photos is below 1."""
    if count < 1:
        raise InputError(f"--calibration-samples {count}: use at least 1 (the default is {DEFAULT_SAMPLES})")


def require_photos(num_training: int) -> None:
    """Raise InputError where the training split holds no photo that could be chosen."""
    if not num_training:
        raise InputError(
            "the training split is empty, and representative photos are taken from it. Build the run again."
        )


def choose_representative(
    content_sha256: Sequence[bytes], labels: npt.NDArray[np.int64], num_samples: int, seed: int
) -> npt.NDArray[np.int64]:
    """Choose ``num_samples`` training photos as evenly by class as possible, or all where there are fewer.

    Within a class a seeded hash of each photo decides. So the choice does not depend on the order of the files. Returns the
    row numbers of the chosen photos, int64, ascending. Raises InputError where there is no training photo, or
    ``num_samples`` is below 1.
    """
    require_samples(num_samples)
    require_photos(len(labels))

    def rank(row: int) -> bytes:
        return hashlib.sha256(f"tledge-calibration:{seed}:".encode() + content_sha256[row]).digest()

    queues = [sorted(np.flatnonzero(labels == label).tolist(), key=rank) for label in np.unique(labels)]
    rows: list[int] = []
    for turn in range(max(len(queue) for queue in queues)):
        rows += [queue[turn] for queue in queues if turn < len(queue)]
    return np.array(sorted(rows[:num_samples]), np.int64)


@dataclass(frozen=True)
class Chosen:
    """A ``Chosen`` says which training photos are the representative data set.

    Args:
        rows: The row numbers of the chosen training photos, int64.
        num_copies: How many photos were left out because they are near copies of test photos.
        num_alike: How many chosen photos are as near to a test photo as a copy would be. They are kept because many photos of
            this data set are alike.
    """

    rows: npt.NDArray[np.int64]
    num_copies: int
    num_alike: int


def choose_apart(
    train: SplitPhotos,
    num_samples: int,
    seed: int,
    train_fingerprints: Fingerprints,
    test_fingerprints: Fingerprints,
) -> Chosen:
    """Choose as :func:`choose_representative` does, but leave out near copies of test photos.

    Only a run that an earlier tledge built has such copies. The fingerprints are uint8 (N, 256), those of the training
    photos in the order of ``train``.
    """
    left, num_copies = np.arange(len(train.labels)), 0
    while True:
        rows = left[
            choose_representative([train.content_sha256[row] for row in left], train.labels[left], num_samples, seed)
        ]
        found = neighbours(train_fingerprints[rows], test_fingerprints)
        if not found.is_copy.any():
            return Chosen(rows, num_copies, int(np.count_nonzero(found.is_near)))
        num_copies += int(np.count_nonzero(found.is_copy))
        left = np.setdiff1d(left, rows[found.is_copy])


def record(
    ids: Sequence[str],
    content_sha256: Sequence[bytes],
    labels: npt.NDArray[np.int64],
    names: Sequence[str],
    seed: int,
    test: Sequence[Member],
    num_copies: int = 0,
    num_alike: int = 0,
) -> CalibrationRecord:
    """Make the record that export.json holds of the representative data set.

    Args:
        ids: The ids of the chosen photos.
        content_sha256: The hashes of the chosen photos.
        labels: The class of each chosen photo, as a place in ``names``.
        names: The labels of the classes.
        seed: The seed of the choice.
        test: Every photo of the test split.
        num_copies: How many near copies were left out, as in :class:`Chosen`.
        num_alike: How many photos were kept although they are near a test photo, as in :class:`Chosen`.

    Raises:
        InputError: A chosen photo is also in the test split.
    """
    shared = set(content_sha256) & {photo.content_sha256 for photo in test}
    if shared:
        raise InputError(f"{len(shared)} calibration photos are in the test split. Build the run again.")
    counts = np.bincount(labels, minlength=len(names))
    return CalibrationRecord(
        num_samples=len(ids),
        class_counts={name: int(count) for name, count in zip(names, counts, strict=True)},
        seed=seed,
        ids=list(ids),
        content_sha256=[key.hex() for key in content_sha256],
        near_copies_left_out=num_copies,
        near_copies_kept=num_alike,
        test_num_photos=len(test),
        test_sha256=split_digest([photo.content_sha256 for photo in test], [names[photo.label] for photo in test]),
    )


def pin_input_range(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Copy photos, uint8 (N, S, S, 3), and put one black and one white pixel into the first row of the first photo.

    The scale of the input follows from the smallest and the largest value seen. With 0 and 255 among the values, the scale
    is exactly 1 and the zero point 0. The byte of a pixel then is the quantized value. Two pixels of one photo move no other
    range.
    """
    pinned = pixels.copy()
    pinned[0, 0, 0], pinned[0, 0, 1] = 0, 255
    return pinned
