"""TensorFlow Datasets as a source."""

from __future__ import annotations

from itertools import islice

import pytest

from tledge import preprocessing
from tledge.datasets import open_source
from tledge.datasets.prepare import prepare_dataset
from tledge.errors import EnvironmentFault, InputError
from tledge.progress import Silent


@pytest.mark.usefixtures("real_data")
def test_a_data_set_with_one_split_is_left_to_be_split() -> None:
    source = open_source("tf_flowers")
    photos = list(islice(source.photos(), 300))
    assert source.labels == ("dandelion", "daisy", "tulips", "sunflowers", "roses")
    assert source.num_photos == 3670
    assert source.name.startswith("tf_flowers:")
    assert {photo.source_split for photo in photos} == {None}
    assert len({photo.id for photo in photos}) == 300
    assert [photo.id for photo in islice(source.photos(), 300)] == [photo.id for photo in photos]
    assert isinstance(photos[0].data, bytes)
    assert preprocessing.decode(photos[0].data).shape[2] == 3


@pytest.mark.long
@pytest.mark.usefixtures("real_data")
def test_tf_flowers_keeps_its_539_test_photos() -> None:
    progress = Silent()
    data = prepare_dataset(open_source("tf_flowers"), 96, 0, progress)
    test = data.split_records()["test"]
    assert (test.num_photos, test.sha256[:16]) == (539, "65fdb9d9ad3c85ac")
    assert (data.record().conflicting_labels, data.record().conflicts_left_out) == (1, [])  # both photos are trained on
    assert any("__1739 (tulips) = " in warning and "__2380 (roses)" in warning for warning in progress.warnings)


@pytest.mark.usefixtures("real_data")
@pytest.mark.parametrize("spec", ["mnist", "mnist:3.0.1", "tfds:mnist"])
def test_a_test_split_of_the_source_is_kept(spec: str) -> None:
    source = open_source(spec)
    assert source.num_photos == 70_000
    assert source.labels == tuple("0123456789")
    assert source.spec == f"tfds:{spec.removeprefix('tfds:')}"
    assert next(source.photos()).source_split == "train"


def test_a_version_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InputError, match=r"data set 'mnist:9\.9\.9'"):
        open_source("mnist:9.9.9")


def test_a_data_set_of_texts_is_refused_before_it_is_downloaded() -> None:
    with pytest.raises(InputError, match="'imdb_reviews' is no image classification: its features are label, text"):
        open_source("imdb_reviews")


def test_a_data_set_that_must_be_fetched_by_hand_says_so() -> None:
    with pytest.raises(EnvironmentFault, match="'imagenet2012' must be downloaded by hand into .*manual: .*register"):
        open_source("imagenet2012")
