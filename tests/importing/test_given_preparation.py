"""What --prepare says is taken word by word, and a word that can't be taken is named."""

from __future__ import annotations

import numpy as np
import pytest

from tledge.errors import InputError
from tledge.importing.given_preparation import Given, parse_given
from tledge.normalization import CAFFE, IMAGENET, USUAL, of_range
from tledge.resizing import parse_resize


def test_no_text_gives_nothing() -> None:
    assert parse_given(None) == parse_given("  ") == Given()


def test_every_word_is_taken() -> None:
    found = parse_given("size=160 resize=crop:182,bicubic scale=0..1 order=BGR")
    assert found == Given(160, parse_resize("crop:182,bicubic"), of_range(0, 1), is_bgr=True)
    assert parse_given("order=rgb") == Given(is_bgr=False)
    assert parse_given("scale=imagenet").normalization == IMAGENET
    assert parse_given("scale=caffe").normalization == CAFFE


def test_mean_and_std_are_those_of_pixels_in_0_to_1() -> None:
    found = parse_given("mean=0.485,0.456,0.406 std=0.229,0.224,0.225").normalization
    assert found is not None
    np.testing.assert_allclose([found.scale, found.offset], [IMAGENET.scale, IMAGENET.offset])
    grey = parse_given("mean=0.5 std=0.5").normalization
    assert grey is not None
    np.testing.assert_allclose([grey.scale, grey.offset], [of_range(-1, 1).scale, of_range(-1, 1).offset])


def test_a_normalization_maps_the_ends_of_the_pixel_range_where_its_name_says() -> None:
    for one in USUAL.values():
        if ".." in one.name:
            low, high = map(float, one.name.split(".."))
            np.testing.assert_allclose([one.offset[0], 255 * one.scale[0] + one.offset[0]], [low, high], atol=1e-12)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("160", "--prepare '160': use words as in"),
        ("size=", "use words as in"),
        ("siz=160", r"unknown word of --prepare 'siz'\. Did you mean 'size'\?"),
        ("size=160 size=160", "names size twice"),
        ("size=0", "size=0: use a whole number of pixels"),
        ("size=16.5", "size=16.5: use a whole number"),
        ("scale=imagnet", r"unknown scale of --prepare 'imagnet'\. Did you mean 'imagenet'\?"),
        ("scale=1..0", "begin with the smaller number"),
        ("scale=0..x", "'x' is no number"),
        ("scale=0..inf", "'inf' is no number"),
        ("mean=0.5", "give mean and std together"),
        ("mean=0.5 std=0.5 scale=0..1", "give mean and std together, in place of scale"),
        ("mean=1,2 std=1", "give one number, or three"),
        ("mean=0.5 std=0", "use numbers above 0"),
        ("order=rbg", "use rgb or bgr"),
        ("resize=crip:256", "crip"),
    ],
)
def test_a_word_that_can_not_be_taken_is_named(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_given(text)
