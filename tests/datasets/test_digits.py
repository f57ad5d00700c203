"""scikit-learn's digits as a data set."""

from __future__ import annotations

import numpy as np

from tledge.datasets import open_source


def test_digits_are_1797_grey_pictures_of_ten_classes_over_the_full_range() -> None:
    source = open_source("digits")
    photos = list(source.photos())
    pixels = np.stack([np.asarray(photo.data) for photo in photos])
    assert len(photos) == source.num_photos == 1797
    assert len({photo.id for photo in photos}) == 1797
    assert source.labels == tuple("0123456789")
    assert {photo.label for photo in photos} == set(range(10))
    assert pixels.shape == (1797, 8, 8)
    assert (pixels.dtype, pixels.min(), pixels.max()) == (np.uint8, 0, 255)
    assert {photo.source_split for photo in photos} == {None}
