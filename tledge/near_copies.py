"""Two photos are near copies if one is the other, encoded or resized again; 16 x 16 means of grey levels tell.

The distance of two photos is the root mean square of the differences of their means, in grey levels of 0 to 255.
docs/verification.md has the figures behind the limits, and benchmarks/near_copies.py measures them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tledge.preprocessing import Pixels

VERSION = 1
CELLS = 16
LENGTH = CELLS * CELLS
MAX_DISTANCE = 4.0
MOST_AROUND = 4  # other photos within twice the distance: where there are more, photos of this kind are alike
_BLOCK = 4096  # fingerprints of each side at a time: a product of them is 64 MB
Fingerprints = npt.NDArray[np.uint8]


def fingerprint(pixels: Pixels) -> Fingerprints:
    """Average the grey levels of uint8 RGB (S, S, 3) over 16 x 16 cells, and return the means as uint8 (256,)."""
    from PIL import Image

    grey = Image.fromarray(pixels).convert("L")
    return np.asarray(grey.resize((CELLS, CELLS), Image.Resampling.BOX)).reshape(LENGTH)


@dataclass(frozen=True)
class Neighbours:
    """This record says, for each of N photos, which other photo is nearest and how many others are near.

    ``nearest`` is the row of the nearest other photo, int64, and ``distance`` its distance, float64. ``close`` counts
    the others within ``MAX_DISTANCE``, and ``around`` those within twice that, both int64. All have shape (N,).
    """

    nearest: npt.NDArray[np.int64]
    distance: npt.NDArray[np.float64]
    close: npt.NDArray[np.int64]
    around: npt.NDArray[np.int64]

    @property
    def is_near(self) -> npt.NDArray[np.bool_]:
        """Return whether each photo is as near to its nearest as a copy is, bool (N,)."""
        return self.distance <= MAX_DISTANCE

    @property
    def is_copy(self) -> npt.NDArray[np.bool_]:
        """Return whether each photo is a copy of its nearest, bool (N,).

        A copy is near, and the two stand apart from all others. No photo is called a copy where photos are alike, as in
        a series of a fixed camera. That is so where most of the near photos do not stand apart, or where more pairs are
        a little farther apart than near. Copies leave a gap there; chance leaves none. Among random points in a plane,
        three times as many are between one and two steps away as within one.
        """
        stands_apart = self.is_near & (self.around <= MOST_AROUND)
        most_are_alike = np.count_nonzero(self.is_near) > 2 * np.count_nonzero(stands_apart)
        if most_are_alike or self.around.sum() > 2 * self.close.sum():
            return np.zeros(len(self.nearest), np.bool_)
        return stands_apart


def neighbours(photos: Fingerprints, others: Fingerprints) -> Neighbours:
    """Compare each of ``photos`` (N, 256) with each of ``others`` (M, 256), in blocks: memory grows with N alone.

    All numbers are whole and below 2^24 (256 x 255^2 is the largest), which float32 holds. The result is exact,
    whatever the order of the sums.
    """
    nearest, close, around = (np.zeros(len(photos), np.int64) for _ in range(3))
    squared = np.full(len(photos), np.inf)
    near = LENGTH * MAX_DISTANCE**2
    for start in range(0, len(others), _BLOCK):
        block = others[start : start + _BLOCK].astype(np.float32)
        norms = np.einsum("ij,ij->i", block, block)
        block *= -2
        for first in range(0, len(photos), _BLOCK):
            part = slice(first, first + _BLOCK)
            mine = photos[part].astype(np.float32)
            # |a - b|^2 = |a|^2 + (|b|^2 - 2ab): the bracket is exact where the distance is short, and that is what counts.
            apart = mine @ block.T
            apart += norms
            own = np.einsum("ij,ij->i", mine, mine)
            column = np.argmin(apart, axis=1)
            found = own + apart[np.arange(len(mine)), column]
            close[part] += np.count_nonzero(apart <= (near - own)[:, None], axis=1)
            around[part] += np.count_nonzero(apart <= (4 * near - own)[:, None], axis=1)
            is_nearer = found < squared[part]
            nearest[part][is_nearer] = start + column[is_nearer]
            squared[part][is_nearer] = found[is_nearer]
    return Neighbours(nearest, np.sqrt(squared / LENGTH), close, around)
