"""This source is scikit-learn's own 1,797 handwritten digits (8 x 8 grey, 10 classes), which need no network."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tledge.datasets.photo_source import Photo, Source

NAME = "digits"


class Digits:
    """This data set is the test set of the UCI optical digits, as scikit-learn ships it."""

    spec = NAME
    name = NAME
    labels = tuple(str(digit) for digit in range(10))
    num_photos = 1797
    class_counts: tuple[int, ...] | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def photos(self) -> Iterator[Photo]:
        """Yield the digits, uint8 (8, 8) grey. The source's values 0..16 become 0..255."""
        from sklearn.datasets import load_digits

        data = load_digits()
        images = np.rint(data.images * (255.0 / 16.0)).astype(np.uint8)
        for number, (image, label) in enumerate(zip(images, data.target, strict=True)):
            yield Photo(f"{NAME}/{number:04d}", int(label), None, image)


def open_digits() -> Source:
    """Open the digits of scikit-learn."""
    return Digits()
