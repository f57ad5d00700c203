"""A JPEG over 8 megapixels is decoded at a part of its size, and hardly differs from one that was decoded whole."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image
from sklearn.datasets import load_sample_images

from tledge.datasets.folder import open_folder
from tledge.datasets.prepare import prepare_dataset
from tledge.errors import ArtifactError
from tledge.inference.run_model import open_model
from tledge.preprocessing import FULL_DECODES, VERSION, Preparation, as_recorded, prepare_photo
from tledge.progress import Silent
from tledge.run import MANIFEST, Run, open_run

BEFORE = Preparation(version=FULL_DECODES)


def _photo(width: int, height: int, seed: int = 0, **options: object) -> bytes:
    """A real picture, enlarged, with the grain of a sensor."""
    enlarged = Image.fromarray(load_sample_images().images[seed % 2]).resize((width, height), Image.Resampling.BICUBIC)
    grain = np.random.default_rng(seed).normal(0, 8, (height, width, 1))
    image = Image.fromarray(np.clip(np.asarray(enlarged) + grain, 0, 255).astype(np.uint8))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=90, **options)
    return out.getvalue()


@pytest.fixture(scope="module")
def phone_photo() -> bytes:
    """12 megapixels, which lie on their side as phones write them."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return _photo(4032, 3024, exif=exif)


@pytest.mark.parametrize("size", [96, 224, 380])
def test_pixels_differ_by_three_grey_levels_at_most_from_a_full_decode(phone_photo: bytes, size: int) -> None:
    now, before = (prepare_photo(phone_photo, size, one).pixels.astype(int) for one in (Preparation(), BEFORE))
    assert now.shape == before.shape == (size, size, 3)
    assert 0 < abs(now - before).max() <= 3


def test_a_photo_is_assigned_to_a_split_whatever_the_input_size(phone_photo: bytes) -> None:
    digests = {prepare_photo(phone_photo, size).digest for size in (32, 96, 380, 600)}
    assert len(digests) == 1
    assert prepare_photo(phone_photo, 32, BEFORE).digest not in digests


def test_a_jpeg_of_8_megapixels_or_less_is_decoded_whole() -> None:
    photo = _photo(3264, 2448, progressive=True)
    now, before = (prepare_photo(photo, 224, one) for one in (Preparation(), BEFORE))
    assert np.array_equal(now.pixels, before.pixels)
    assert now.digest == before.digest


def test_each_version_has_its_own_pixels_in_the_cache(
    phone_photo: bytes, photo_folder: Callable[..., Path], empty_cache: Path
) -> None:
    root = photo_folder({"cat": 20, "dog": 20})
    (root / "cat" / "IMG_0001.jpg").write_bytes(phone_photo)
    for preparation in (Preparation(), BEFORE, Preparation()):
        data = prepare_dataset(open_folder(root), 32, 0, Silent(), preparation)
        row = data.ids.index("cat/IMG_0001.jpg")
        assert np.array_equal(data.pixels[row], prepare_photo(phone_photo, 32, preparation).pixels)


def test_a_run_of_an_earlier_version_reads_photos_as_it_did(lenet_copy: Run) -> None:
    def of_version(version: int) -> Run:
        record = lenet_copy.manifest.preprocessing.model_copy(update={"version": version})
        lenet_copy.manifest.model_copy(update={"preprocessing": record}).save(lenet_copy.folder / MANIFEST)
        return open_run(lenet_copy.folder.parent, lenet_copy.name)

    assert open_model(lenet_copy).preparation == Preparation(version=VERSION)
    assert open_model(of_version(FULL_DECODES)).preparation == BEFORE
    with pytest.raises(ArtifactError, match="made by a newer tledge"):
        as_recorded(of_version(VERSION + 1).manifest.preprocessing)


@pytest.mark.parametrize(("megapixels", "size", "num_decodes"), [(0.2, 224, 1), (12, 96, 1), (24, 380, 2)])
def test_a_photo_is_decoded_once_unless_its_part_is_too_small(
    megapixels: float, size: int, num_decodes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    height = round((megapixels * 750_000) ** 0.5)
    photo = _photo(height * 4 // 3, height)
    opened: list[object] = []
    open_image = Image.open
    monkeypatch.setattr(Image, "open", lambda *given, **named: opened.append(given) or open_image(*given, **named))
    prepare_photo(photo, size)
    assert len(opened) == num_decodes
