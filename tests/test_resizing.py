"""A photo becomes a square as its resize says: as Pillow, torchvision and TensorFlow do, and whatever the file."""

from __future__ import annotations

import io
import itertools
import math
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from PIL import ExifTags, Image
from sklearn.datasets import load_sample_images

from tledge.datasets.folder import open_folder
from tledge.datasets.prepare import prepare_dataset
from tledge.errors import InputError
from tledge.pixel_range import PixelRange
from tledge.preprocessing import AS_BUILDS_DO, Preparation, UnreadableImage, as_recorded, prepare_photo, resize
from tledge.progress import Silent
from tledge.records import PreprocessingRecord
from tledge.resizing import LARGEST_SIDE, SQUEEZE, Interpolation, Resize, checked_resize, parse_resize

SHAPES = [(40, 61), (61, 40), (100, 37), (37, 100), (7, 5), (64, 64), (33, 32), (1, 3)]
Array = np.ndarray[Any, np.dtype[Any]]


def _picture(height: int, width: int, seed: int = 0) -> Array:
    """A real picture, cut out and with noise: every interpolation and every pixel makes a difference."""
    whole = load_sample_images().images[seed % 2]
    cut = np.asarray(Image.fromarray(whole).resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    noise = np.random.default_rng(seed).integers(-60, 60, cut.shape)
    return np.clip(cut + noise, 0, 255).astype(np.uint8)


def _encoded(pixels: Array, encoding: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, encoding, **options)
    return out.getvalue()


def _all_resizes() -> list[Resize]:
    fits: list[tuple[Any, int | None]] = [
        ("squeeze", None),
        ("crop", 1),
        ("crop", 40),
        ("crop", LARGEST_SIDE),
        ("pad", None),
    ]
    made = [
        Resize(fit, side, interpolation, antialias)
        for (fit, side), interpolation, antialias in itertools.product(fits, get_args(Interpolation), (True, False))
    ]
    return [one for one in made if (one.interpolation, one.antialias) not in (("lanczos", False), ("nearest", True))]


def test_every_resize_has_one_text_that_parses_back() -> None:
    resizes = _all_resizes()
    assert len({str(one) for one in resizes}) == len({one.name for one in resizes}) == len(resizes) == 30
    for one in resizes:
        assert parse_resize(str(one)) == one == one.checked()
        assert not set(one.name) & set(":,/ ")


def test_no_shorter_text_means_the_same_and_words_may_come_in_any_order() -> None:
    for one in _all_resizes():
        words = str(one).split(",")
        for number in range(1, len(words)):
            assert parse_resize(",".join(words[:number] + words[number + 1 :])) != one
        assert parse_resize(",".join([words[0], *reversed(words[1:])])) == one
    assert parse_resize(" Crop:0256,Bilinear,antialias") == Resize("crop", 256)
    assert str(parse_resize("squeeze,nearest,no-antialias")) == "squeeze,nearest"
    assert str(SQUEEZE) == "squeeze"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("crob:256", "unknown word 'crob'. Did you mean 'crop:N'?"),
        ("pads", "Did you mean 'pad'?"),
        ("", "unknown word ''. Known: crop:N, pad, squeeze"),
        ("crop:256,bicubik", "unknown word 'bicubik'. Did you mean 'bicubic'?"),
        ("pad,no-antialiasing", "Did you mean 'no-antialias'?"),
        ("crop", "as in crop:256"),
        ("crop:", "use a number of pixels after crop:"),
        ("crop:-3", "use a number of pixels after crop:"),
        ("crop:0", "from 1 to 2,048 pixels"),
        ("crop:2049", "from 1 to 2,048 pixels"),
        ("squeeze:64", "squeeze takes no number of pixels: drop it, or use crop:64"),
        ("squeeze,bicubic,nearest", "'nearest' is one word too many"),
        ("squeeze,antialias,no-antialias", "'no-antialias' is one word too many"),
        ("squeeze,lanczos,no-antialias", "lanczos is always antialiased"),
        ("squeeze,nearest,antialias", "nearest is never antialiased"),
    ],
)
def test_a_wrong_text_is_refused_with_the_nearest_word_or_the_reason(text: str, said: str) -> None:
    with pytest.raises(InputError) as refused:
        parse_resize(text)
    assert said in str(refused.value)
    assert repr(text) in str(refused.value) or text == "crop" or ":" in text or "," in text


def test_records_are_checked_as_text_is() -> None:
    for wrong in (Resize("crop"), Resize("pad", 3), Resize(interpolation="lanczos", antialias=False), Resize("fit")):  # type: ignore[arg-type]
        with pytest.raises(InputError):
            checked_resize(wrong)
        with pytest.raises(InputError):
            prepare_photo(_encoded(_picture(8, 8)), 4, Preparation(resize=wrong))
    assert checked_resize(None) == checked_resize("squeeze") == checked_resize(SQUEEZE) == SQUEEZE
    with pytest.raises(InputError, match="give a text"):
        checked_resize(3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"no 64 x 64 pixels can be cropped from a side of 40. Use crop:64 or more"):
        resize(_picture(90, 90), 64, Resize("crop", 40))


FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_an_antialiased_crop_is_that_of_torchvision(shape: tuple[int, int], name: Any) -> None:
    """torchvision's Resize(N) and CenterCrop(S) of a Pillow image, written down from its documentation."""
    pixels = _picture(*shape)
    for shorter_side, size in ((24, 24), (27, 24), (28, 24), (31, 24)):
        height, width = shape
        if width <= height:
            made = (shorter_side, int(shorter_side * height / width))
        else:
            made = (int(shorter_side * width / height), shorter_side)
        whole = np.asarray(Image.fromarray(pixels).resize(made, FILTERS[name]))
        top, left = (int(round((side - size) / 2.0)) for side in whole.shape[:2])  # noqa: RUF046 - as it is there
        expected = whole[top : top + size, left : left + size]
        assert np.array_equal(resize(pixels, size, Resize("crop", shorter_side, name)), expected)


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_padded_photo_keeps_its_aspect_and_has_the_odd_line_at_the_right_or_bottom(
    shape: tuple[int, int], name: Any
) -> None:
    pixels, size = _picture(*shape), 32
    made = resize(pixels, size, Resize("pad", interpolation=name))
    height, width = (max(1, math.floor(size * side / max(shape))) for side in shape)
    top, left = (size - height) // 2, (size - width) // 2
    inside = np.asarray(Image.fromarray(pixels).resize((width, height), FILTERS[name]))
    assert np.array_equal(made[top : top + height, left : left + width], inside)
    made = made.copy()
    made[top : top + height, left : left + width] = 0
    assert not made.any()
    assert (size - height - top) - top in (0, 1)
    assert (size - width - left) - left in (0, 1)


@pytest.mark.parametrize("name", ["nearest", "bilinear", "bicubic"])
def test_sampling_without_antialiasing_is_that_of_tensorflow(name: Any) -> None:
    import tensorflow as tf

    for shape, size in itertools.product(SHAPES, (5, 24, 96)):
        pixels = _picture(*shape)
        expected = tf.image.resize(pixels, (size, size), method=name, antialias=False).numpy()
        made = resize(pixels, size, Resize(interpolation=name, antialias=False)).astype(int)
        assert abs(made - np.clip(expected, 0, 255)).max() <= (0 if name == "nearest" else 1)
        inside = [max(1, size * side // max(shape)) for side in shape]
        padded = tf.image.resize(pixels, inside, method=name, antialias=False).numpy()
        (top, left), made = (
            ((size - side) // 2 for side in inside),
            resize(pixels, size, Resize("pad", None, name, False)),
        )
        found = made[top : top + inside[0], left : left + inside[1]].astype(int)
        assert abs(found - np.clip(padded, 0, 255)).max() <= (0 if name == "nearest" else 1)
        assert np.count_nonzero(made) == np.count_nonzero(found)


@pytest.mark.parametrize("name", ["nearest", "bilinear", "bicubic"])
def test_a_sampled_crop_is_the_centre_of_the_whole_sampled_by_tensorflow(name: Any) -> None:
    import tensorflow as tf

    for height, width in SHAPES:
        pixels, shorter = _picture(height, width), min(height, width)
        whole = tf.image.resize(pixels, [29 * height // shorter, 29 * width // shorter], method=name).numpy()
        top, left = (round((side - 24) / 2) for side in whole.shape[:2])
        expected = np.clip(whole[top : top + 24, left : left + 24], 0, 255)
        made = resize(pixels, 24, Resize("crop", 29, name, False)).astype(int)
        assert abs(made - expected).max() <= (0 if name == "nearest" else 1)


def test_the_nearest_pixel_and_the_kernel_of_bicubic_are_those_of_the_docs() -> None:
    row = np.arange(10, dtype=np.uint8) * 20
    picture = np.repeat(np.tile(row, (10, 1))[:, :, None], 3, axis=2)
    made = resize(picture, 4, Resize(interpolation="nearest", antialias=False))
    assert made[0, :, 0].tolist() == [row[math.floor((i + 0.5) * 10 / 4)] for i in range(4)]
    # Half-way between two pixels Keys' kernel of a = -0.5 weighs -1/16 and 9/16; of a = -0.75 it would be -3/32 and 19/32.
    step = np.zeros((8, 8, 3), np.uint8)
    step[:, 4:] = 160
    made = resize(step, 4, Resize(interpolation="bicubic", antialias=False))
    assert made[0, :, 0].tolist() == [0, 0, 170, 160]  # -160/16 is clipped; nothing is beyond the last pixel
    step[:, 3] = 80
    made = resize(step, 4, Resize(interpolation="bicubic", antialias=False))
    assert made[0, 1, 0] == round((9 * 80 - 160) / 16)


def test_squeeze_without_antialiasing_differs_from_the_default_and_the_default_has_not_changed() -> None:
    pixels = _picture(90, 70)
    default = np.asarray(Image.fromarray(pixels).resize((20, 20), Image.Resampling.BILINEAR))
    assert np.array_equal(prepare_photo(_encoded(pixels), 20).pixels, default)
    assert abs(resize(pixels, 20, Resize(antialias=False)).astype(int) - default).max() > 30


def test_many_resizes_of_a_photo_cost_one_decode_and_are_those_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    data, resizes = _encoded(_picture(90, 120)), [one for one in _all_resizes() if one.shorter_side in (None, 40)]
    alone = [prepare_photo(data, 32, Preparation(resize=one)) for one in resizes]
    opened: list[object] = []
    open_image = Image.open
    monkeypatch.setattr(Image, "open", lambda *given, **named: opened.append(given) or open_image(*given, **named))
    together = prepare_photo(data, 32, others=resizes)
    assert len(opened) == 1
    assert {one.digest for one in alone} == {together.digest}
    for one, pixels in zip(alone, together.others, strict=True):
        assert np.array_equal(one.pixels, pixels)
    assert len({pixels.tobytes() for pixels in together.others}) == len(resizes)
    decoded = prepare_photo(_picture(90, 120), 32, others=resizes)
    assert all(np.array_equal(one, other) for one, other in zip(decoded.others, together.others, strict=True))


@pytest.fixture(scope="module")
def phone_photos() -> dict[int, bytes]:
    """12 megapixels of odd sides, upright and turned as phones write them."""
    small = Image.fromarray(load_sample_images().images[0]).resize((4031, 3021), Image.Resampling.BICUBIC)
    grain = np.random.default_rng(0).normal(0, 8, (3021, 4031, 1))
    pixels = np.clip(np.asarray(small) + grain, 0, 255).astype(np.uint8)
    photos = {}
    for orientation in (1, 3, 6):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        photos[orientation] = _encoded(pixels, "JPEG", quality=90, exif=exif)
    return photos


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_scaled_decode_hardly_changes_what_is_antialiased(phone_photos: dict[int, bytes], orientation: int) -> None:
    texts = ["crop:256", "crop:230", "pad", "crop:256,bicubic", "pad,lanczos", "squeeze,bicubic"]
    resizes, data = [parse_resize(text) for text in texts], phone_photos[orientation]
    part = prepare_photo(data, 224, others=resizes)
    whole = prepare_photo(data, 224, Preparation(version=2), others=resizes)
    for one, other in zip(part.others, whole.others, strict=True):
        assert 0 < abs(one.astype(int) - other).max() <= 3
    alone = prepare_photo(data, 224, Preparation(resize=resizes[0]))
    assert np.array_equal(alone.pixels, part.others[0])
    assert alone.digest == part.digest != whole.digest


@pytest.mark.parametrize("text", ["squeeze,no-antialias", "crop:110,nearest", "pad,bicubic,no-antialias"])
def test_what_samples_single_pixels_is_decoded_whole(phone_photos: dict[int, bytes], text: str) -> None:
    how = parse_resize(text)
    for data in phone_photos.values():
        part = prepare_photo(data, 96, Preparation(resize=how))
        whole = prepare_photo(data, 96, Preparation(version=2, resize=how))
        assert np.array_equal(part.pixels, whole.pixels)
        assert part.digest == prepare_photo(data, 96).digest  # the split is that of any other resize


@pytest.mark.parametrize("text", ["crop:40", "pad", "crop:40,bicubic,no-antialias"])
def test_photos_that_lie_on_their_side_and_of_16_bits_take_the_same_way(text: str) -> None:
    how, pixels = parse_resize(text), _picture(50, 80)
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    stored = _encoded(np.ascontiguousarray(np.rot90(pixels)), "PNG", exif=turned)
    assert np.array_equal(prepare_photo(stored, 32, Preparation(resize=how)).pixels, resize(pixels, 32, how))
    grey = np.repeat(pixels[:, :, :1], 3, axis=2)
    wide = io.BytesIO()
    Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 16).save(wide, "PNG")
    twelve = Preparation(PixelRange(0, 4095), resize=how)
    assert np.array_equal(prepare_photo(wide.getvalue(), 32, twelve).pixels, resize(grey, 32, how))


def test_a_line_is_refused_where_its_centre_would_be_cropped_of_millions_of_pixels() -> None:
    line = _encoded(np.zeros((2, 1000, 3), np.uint8))
    with pytest.raises(UnreadableImage, match="1000 x 2 pixels, too long and thin a picture for the resize crop:224"):
        prepare_photo(line, 224, Preparation(resize=Resize("crop", 224)))
    for fit in ("squeeze", "pad"):
        assert prepare_photo(line, 224, Preparation(resize=Resize(fit))).pixels.shape == (224, 224, 3)
    with pytest.raises(UnreadableImage):
        prepare_photo(np.zeros((2, 1000, 3), np.uint8), 224, Preparation(resize=Resize("crop", 224)))


def test_each_preparation_has_a_name_of_its_own_and_the_defaults_are_as_they_were() -> None:
    assert AS_BUILDS_DO.name == "v3"
    assert Preparation(PixelRange(0, 4095)).name == "v3-0..4095"
    assert Preparation(resize=parse_resize("crop:256,bicubic")).name == "v3-crop256-bicubic"
    named = {Preparation(bits, resize=one).name for bits in (None, PixelRange(0, 4095)) for one in _all_resizes()}
    assert len(named) == 2 * len(_all_resizes())


def _record(**given: Any) -> PreprocessingRecord:
    usual = {"version": 3, "description": "any", "input": "uint8 RGB, NHWC, 32 x 32", "scale_in_graph": 1 / 255}
    return PreprocessingRecord(**{**usual, **given})


def test_a_record_restores_its_resize_and_one_of_an_earlier_tledge_the_default() -> None:
    assert as_recorded(_record()) == AS_BUILDS_DO
    assert as_recorded(_record(resize="crop:40,bicubic")).resize == Resize("crop", 40, "bicubic")
    with pytest.raises(ValueError, match="unknown word 'crob'"):
        _record(resize="crob:40")


def test_the_description_tells_of_the_resize() -> None:
    assert AS_BUILDS_DO.description() == (
        "Pillow decode (a JPEG over 8 megapixels at a half, a quarter or an eighth of its size), EXIF orientation, RGB, bilinear "
        "resize with antialiasing to the input size (aspect not kept)"
    )
    assert Preparation(resize=Resize("crop", 40, "nearest", False)).description() == (
        "Pillow decode, EXIF orientation, RGB, resize by the nearest pixel of the shorter side to 40 pixels (aspect kept), of "
        "which the centre of the input size is cropped"
    )
    assert len({Preparation(resize=one).description() for one in _all_resizes()}) == len(_all_resizes())


def test_the_splits_and_near_copies_are_the_same_whatever_the_resize(tmp_path: Path, empty_cache: Path) -> None:
    for label, first in (("cat", 0), ("dog", 100)):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(20):
            # Only the outer columns tell these photos apart, which a crop does not see.
            pixels = np.full((24, 48, 3), 128, np.uint8)
            pixels[:, :12] = _picture(24, 12, first + number)
            pixels[:, 36:] = _picture(24, 12, first + number + 50)
            (tmp_path / "photos" / label / f"{number:02d}.png").write_bytes(_encoded(pixels))
    resizes = [SQUEEZE, Resize("crop", 16), Resize("pad", None, "nearest", False)]
    made = [
        prepare_dataset(open_folder(tmp_path / "photos"), 16, 0, Silent(), Preparation(resize=one)) for one in resizes
    ]
    first, *others = made
    for one in others:
        assert one.split_records() == first.split_records()
        assert one.near_copies == first.near_copies
        assert np.array_equal(one.fingerprints, first.fingerprints)
        assert not np.array_equal(one.pixels[0], first.pixels[0])
        assert {one.pixels_key(row) for row in range(40)}.isdisjoint(first.pixels_key(row) for row in range(40))
    assert first.pixels_key(0) == first.content_sha256[0]
    for one, how in zip(made, resizes, strict=True):
        data = (tmp_path / "photos" / one.ids[0]).read_bytes()
        assert np.array_equal(one.pixels[0], prepare_photo(data, 16, Preparation(resize=how)).pixels)
