"""Representative data: which training photos set the quantization ranges."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tledge.datasets.prepare import Member, SplitPhotos
from tledge.datasets.splits import split_digest
from tledge.errors import InputError
from tledge.near_copies import Fingerprints, fingerprint, neighbours
from tledge.records import CalibrationRecord

DEFAULT_SAMPLES = 200


def require_samples(count: int) -> None:
    """Raise InputError for a number of photos that can't be."""
    if count < 1:
        raise InputError(f"--calibration-samples {count}: use at least 1; {DEFAULT_SAMPLES} is the default")


def require_photos(num_training: int) -> None:
    """Raise InputError where there is no training photo to choose."""
    if not num_training:
        raise InputError(
            "the training split is empty, and representative photos are taken from it; build the run again"
        )


def choose_representative(
    content_sha256: Sequence[bytes], labels: npt.NDArray[np.int64], num_samples: int, seed: int
) -> npt.NDArray[np.int64]:
    """Row numbers of ``num_samples`` training photos (all, where there are fewer), as evenly by class as can be.

    Within a class the order is a seeded hash of the photo, so the choice does not depend on file order. Raises InputError
    where there are none.
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
    """``rows``: int64, of training photos. ``num_copies``: near copies of test photos, none of which is among them.

    ``num_alike``: how many of them are as near to a test photo as a copy is, where many photos are alike.
    """

    rows: npt.NDArray[np.int64]
    num_copies: int
    num_alike: int


def choose_apart(train: SplitPhotos, num_samples: int, seed: int, test_fingerprints: Fingerprints) -> Chosen:
    """Choose as :func:`choose_representative` does, among the training photos that are no near copies of test photos.

    Only a run of an earlier tledge has such. ``test_fingerprints``: uint8 (N, 256).
    """
    left, num_copies = np.arange(len(train.labels)), 0
    while True:
        rows = left[
            choose_representative([train.content_sha256[row] for row in left], train.labels[left], num_samples, seed)
        ]
        photos = (fingerprint(np.asarray(train.pixels[int(row)], np.uint8)) for row in rows)
        found = neighbours(np.stack(list(photos)), test_fingerprints)
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
    """What export.json says of the chosen photos. Raises InputError where one is also in ``test``, the whole test split.

    ``num_copies`` and ``num_alike``: as :class:`Chosen` has them.
    """
    shared = set(content_sha256) & {photo.content_sha256 for photo in test}
    if shared:
        raise InputError(f"{len(shared)} calibration photos are in the test split; build the run again")
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
    """A copy of uint8 (N, S, S, 3) whose first photo has one black and one white pixel in its first row.

    The input's scale follows from the smallest and largest value seen. With 0 and 255 among them it is
    exactly 1 with zero point 0: the pixel byte itself is the quantized input. Two pixels of one photo
    move no other range.
    """
    pinned = pixels.copy()
    pinned[0, 0, 0], pinned[0, 0, 1] = 0, 255
    return pinned
