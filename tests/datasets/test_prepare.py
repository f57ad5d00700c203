"""A source becomes a data set: decoded once, split, fingerprinted, found again."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tledge import preprocessing
from tledge.datasets import open_source
from tledge.datasets.caches import pixel_cache
from tledge.datasets.folder import open_folder
from tledge.datasets.prepare import Dataset, prepare_dataset
from tledge.errors import EnvironmentFault, InputError
from tledge.pixel_range import PixelRange
from tledge.preprocessing import Preparation
from tledge.progress import Silent
from tledge.training.features import as_they_are

PhotoFolder = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("empty_cache")


def _prepare(root: Path, seed: int = 0, size: int = 16) -> Dataset:
    return prepare_dataset(open_folder(root), size, seed, Silent())


def _places(data: Dataset) -> dict[str, str]:
    return {data.ids[row]: name for name, rows in data.splits.rows.items() for row in rows}


@pytest.fixture
def decodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The length of every file that is decoded, as it happens."""
    seen: list[int] = []
    real = preprocessing.prepare_photo

    def counted(data: bytes, *arguments: Any) -> preprocessing.PreparedPhoto:
        seen.append(len(data))
        return real(data, *arguments)

    monkeypatch.setattr(preprocessing, "prepare_photo", counted)
    yield seen


def test_pixels_are_the_decoded_photos_at_input_size_in_order(photo_folder: PhotoFolder) -> None:
    root = photo_folder({"cat": 20, "dog": 20})
    data = _prepare(root)
    assert data.pixels[:].shape == (40, 16, 16, 3)
    for row in (0, 7, 39):
        expected = preprocessing.resize(preprocessing.decode((root / data.ids[row]).read_bytes()), 16)
        assert np.array_equal(data.pixels[row], expected)


def test_only_new_photos_are_decoded_the_second_time(
    photo_folder: PhotoFolder, photo_bytes: Callable[..., bytes], decodes: list[int]
) -> None:
    root = photo_folder({"cat": 20, "dog": 20})
    before = _prepare(root)
    assert len(decodes) == 40
    (root / "cat" / "new.png").write_bytes(photo_bytes(777))
    after = _prepare(root)
    assert decodes[40:] == [len(photo_bytes(777))]
    assert len(after.ids) == 41
    old = [after.ids.index(name) for name in before.ids]
    assert np.array_equal(after.pixels[np.array(old)], before.pixels[:])


def test_adding_photos_moves_no_old_one(photo_folder: PhotoFolder, photo_bytes: Callable[..., bytes]) -> None:
    root = photo_folder({"cat": 30, "dog": 30})
    before = _places(_prepare(root))
    for number in range(20):
        (root / "cat" / f"a{number:03d}.png").write_bytes(photo_bytes(500 + number))
    after = _places(_prepare(root))
    assert {name: after[name] for name in before} == before


def test_the_same_picture_in_other_file_formats_and_names_lands_in_one_split(photo_folder: PhotoFolder) -> None:
    root = photo_folder({"cat": 30, "dog": 30})
    for path in sorted((root / "cat").glob("*.png")):
        with Image.open(path) as image:
            for suffix in ("bmp", "tiff", "webp"):
                image.save(path.with_suffix(f".{suffix}"), **({"lossless": True} if suffix == "webp" else {}))
        (path.parent / f"copy of {path.name}").write_bytes(path.read_bytes())
    places = _places(_prepare(root))
    assert len(places) == 180
    for number in range(30):
        stem = f"cat/{number:03d}"
        names = [f"{stem}.png", f"{stem}.bmp", f"{stem}.tiff", f"{stem}.webp", f"cat/copy of {number:03d}.png"]
        assert len({places[name] for name in names}) == 1, names


def test_a_held_out_folder_keeps_its_photos_and_training_loses_its_copies_of_them(photo_folder: PhotoFolder) -> None:
    root = photo_folder({"train/cat": 20, "train/dog": 20, "test/cat": 6, "test/dog": 6})
    with Image.open(root / "test" / "cat" / "000.png") as image:
        image.save(root / "train" / "cat" / "leak.bmp")
    progress = Silent()
    data = prepare_dataset(open_folder(root), 16, 0, progress)
    places = _places(data)
    assert {name for name, split in places.items() if split == "test"} == {
        name for name in data.ids if name.startswith("test/")
    }
    assert "train/cat/leak.bmp" not in places
    assert data.record().duplicates_dropped == 1
    assert "left out 1 copy of a picture that" in progress.warnings[-1]


def test_a_class_that_only_the_test_folder_has_is_refused(photo_folder: PhotoFolder) -> None:
    root = photo_folder({"train/cat": 20, "train/dog": 20, "test/cat": 4, "test/newt": 4})
    with pytest.raises(
        InputError, match=r"no training photo of newt: the class .*Put photos of it into the train"
    ) as no:
        _prepare(root)
    assert "--seed" not in str(no.value)  # folders fix the splits


def test_a_class_that_a_held_out_folder_lacks_is_warned_of(photo_folder: PhotoFolder) -> None:
    progress = Silent()
    root = photo_folder({"train/cat": 20, "train/dog": 20, "test/cat": 4})
    prepare_dataset(open_folder(root), 16, 0, progress)
    assert any("no test photo of dog" in warning for warning in progress.warnings)


def test_a_picture_under_two_labels_is_named_counted_and_left_out_of_test(photo_folder: PhotoFolder) -> None:
    root = photo_folder({"cat": 20, "dog": 20})
    before = _places(_prepare(root))
    in_test, in_train = (next(name for name in before if before[name] == split) for split in ("test", "train"))
    pairs = []
    for number, name in enumerate(sorted([in_test, in_train])):
        other = f"{'dog' if name.startswith('cat') else 'cat'}/copy-{number}.png"
        (root / other).write_bytes((root / name).read_bytes())
        pairs.append(sorted([name, other]))
    progress = Silent()
    data = prepare_dataset(open_folder(root), 16, 0, progress)
    record = data.record()
    assert (record.conflicting_labels, sorted(map(sorted, record.conflicting_photos))) == (2, pairs)
    (test_pair,) = (pair for pair in pairs if in_test in pair)
    assert sorted(record.conflicts_left_out) == test_pair
    assert _places(data) == {name: before[name] for name in before if name != in_test} | dict.fromkeys(
        next(pair for pair in pairs if in_train in pair), "train"
    )
    (warning,) = progress.warnings
    assert warning.startswith("2 pictures occur under more than one label: ")
    assert f"{test_pair[0]} ({test_pair[0][:3]}) = {test_pair[1]} ({test_pair[1][:3]})" in warning
    assert warning.endswith(" Left out of the test split: 2 photos of them. Remove the photos with a wrong label.")


@pytest.mark.parametrize(("repeated", "of"), [("validation", "test"), ("train", "test"), ("train", "validation")])
def test_a_split_folder_that_repeats_another_is_refused_by_name(
    photo_folder: PhotoFolder, repeated: str, of: str
) -> None:
    root = photo_folder({f"{name}/{label}": 4 for name in ("train", "validation", "test") for label in ("cat", "dog")})
    for path in (root / of).rglob("*.png"):
        (root / repeated / path.relative_to(root / of)).write_bytes(path.read_bytes())
    with pytest.raises(
        InputError, match=f"the {repeated} split repeats the {of} split: all its 8 photos are there too"
    ) as no:
        _prepare(root)
    assert "--seed" not in str(no.value)


def test_near_copies_that_empty_a_split_are_told_as_such(photo_folder: PhotoFolder) -> None:
    root = photo_folder({f"{name}/{label}": 4 for name in ("train", "validation", "test") for label in ("cat", "dog")})
    for path in (root / "test").rglob("*.png"):
        with Image.open(path) as image:
            image.resize((96, 96), Image.Resampling.NEAREST).save(root / "validation" / path.relative_to(root / "test"))
    with pytest.raises(
        InputError, match=r"all photos of the validation split are near copies of .*Add photos of its own"
    ):
        _prepare(root)


@pytest.mark.parametrize("change", ["a photo changes", "a label changes", "a photo is added", "a label is renamed"])
def test_the_fingerprint_changes_when(
    photo_folder: PhotoFolder, photo_bytes: Callable[..., bytes], change: str
) -> None:
    root = photo_folder({"cat": 20, "dog": 20})
    before = _prepare(root).record().fingerprint_sha256
    assert _prepare(root, seed=1).record().fingerprint_sha256 == before
    if change == "a photo changes":
        (root / "cat" / "000.png").write_bytes(photo_bytes(900))
    elif change == "a label changes":
        (root / "cat" / "000.png").rename(root / "dog" / "900.png")
    elif change == "a photo is added":
        (root / "cat" / "900.png").write_bytes(photo_bytes(900))
    else:
        (root / "cat").rename(root / "lynx")
    assert _prepare(root).record().fingerprint_sha256 != before


def test_split_records_tell_another_split_from_this_one(photo_folder: PhotoFolder) -> None:
    root = photo_folder({"cat": 30, "dog": 30})
    first, same, other = (_prepare(root, seed).split_records() for seed in (0, 0, 1))
    assert first == same
    assert all(first[name].sha256 != other[name].sha256 for name in first)
    assert sum(record.num_photos for record in first.values()) == 60
    assert sum(record.class_counts["cat"] for record in first.values()) == 30


def test_splits_csv_lists_every_photo_once(photo_folder: PhotoFolder, tmp_path: Path) -> None:
    root = photo_folder({"cat": 20, "dog": 20})
    (root / "cat" / "000.png").rename(root / "cat" / 'a "quoted", odd\nname.png')
    data = _prepare(root)
    data.write_splits(tmp_path)
    with (tmp_path / "splits.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["id"]: row["split"] for row in rows} == _places(data)
    assert {row["content_sha256"] for row in rows} == {key.hex() for key in data.content_sha256}


def test_grey_pictures_become_rgb() -> None:
    data = prepare_dataset(open_source("digits"), 32, 0, Silent())
    pixels = np.asarray(data.pixels[:50])
    assert pixels.shape == (50, 32, 32, 3)
    assert np.array_equal(pixels[..., 0], pixels[..., 2])
    assert pixels.max() > 200


def test_every_input_size_has_its_own_pixels(photo_folder: PhotoFolder) -> None:
    root = photo_folder({"cat": 20, "dog": 20})
    assert _prepare(root, size=16).pixels[0].shape == (16, 16, 3)
    assert _prepare(root, size=32).pixels[0].shape == (32, 32, 3)
    assert len(pixel_cache(16, Preparation())) == len(pixel_cache(32, Preparation())) == 40


def test_odd_photos_are_read_each_in_its_right_colours(photo_folder: PhotoFolder) -> None:
    root = photo_folder({"cat": 20, "dog": 20})
    red = Image.new("RGB", (40, 30), (255, 0, 0))
    red.convert("CMYK").save(root / "cat" / "cmyk.jpg", quality=95)
    red.quantize(8).save(root / "cat" / "palette.png")
    red.resize((1, 1)).save(root / "cat" / "one pixel.png")
    red.save(root / "cat" / "animated.gif", save_all=True, append_images=[Image.new("RGB", (40, 30), (0, 0, 255))])
    Image.fromarray(np.full((30, 40), 40_000, np.uint16)).save(root / "dog" / "grey16.png")
    data = _prepare(root)
    mean = {name: pixels.mean((0, 1)) for name, pixels in zip(data.ids, np.asarray(data.pixels[:]), strict=True)}
    for name in ("cmyk.jpg", "palette.png", "one pixel.png", "animated.gif"):
        assert mean[f"cat/{name}"] == pytest.approx([255, 0, 0], abs=3), name  # JPEG loses a code or two
    assert mean["dog/grey16.png"] == pytest.approx([40_000 >> 8] * 3)
    assert data.skipped == ()


def test_a_source_streams_and_is_not_held_in_memory(tmp_path: Path) -> None:
    import tracemalloc

    out = io.BytesIO()
    for label in ("cat", "dog"):
        (tmp_path / "photos" / label).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(400):
        out = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (128, 128, 3), np.uint8)).save(out, "BMP")
        (tmp_path / "photos" / ("cat", "dog")[number % 2] / f"{number}.bmp").write_bytes(out.getvalue())
    source = open_folder(tmp_path / "photos")
    tracemalloc.start()
    try:
        prepare_dataset(source, 128, 0, Silent())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 400 * len(out.getvalue()) / 2  # 400 files are 20 MB; at most 64 of them are in flight


def test_photos_that_do_not_fit_on_the_disk_are_refused_before_they_are_read_also_where_some_are_cached(
    photo_folder: PhotoFolder,
    small_disk: Callable[[int], Path],
    monkeypatch: pytest.MonkeyPatch,
    decodes: list[int],
) -> None:
    disk = small_disk(400_000)
    monkeypatch.setenv("TLEDGE_CACHE_DIR", str(disk))
    _prepare(photo_folder({"cat": 10, "dog": 10}), size=64)  # 12,288 bytes each
    decodes.clear()
    many = photo_folder({"cat": 30, "dog": 30}, "more", 100)
    with pytest.raises(EnvironmentFault, match="no space left on the disk"):
        _prepare(many, size=64)
    assert decodes == []


def _add_12_bits(folder: Path, count: int) -> list[np.ndarray[Any, np.dtype[np.uint16]]]:
    """Grey photos of 16 bits with values of 12, which are returned."""
    made = []
    for number in range(count):
        made.append(np.random.default_rng(number).integers(0, 4096, (16, 16)).astype(np.uint16))
        made[-1][0, 0] = 4095
        Image.fromarray(made[-1]).save(folder / f"wide-{number}.png")
    return made


def test_16_bit_photos_of_an_unknown_range_are_refused_with_their_count_however_few(photo_folder: PhotoFolder) -> None:
    root = photo_folder({"cat": 40, "dog": 40})
    _add_12_bits(root / "cat", 2)
    with pytest.raises(InputError, match=r"2 of 82 photos have 16 bits a channel, and no value over 4095 .*cat/wide-0"):
        _prepare(root)


def test_pixels_of_one_range_are_never_found_under_another(photo_folder: PhotoFolder) -> None:
    root = photo_folder({"cat": 20, "dog": 20})
    wide = _add_12_bits(root / "cat", 2)
    asked = (PixelRange(0, 4095), PixelRange(0, 65535))
    narrow, dark = (prepare_dataset(open_folder(root), 16, 0, Silent(), Preparation(one)) for one in asked)
    rows = [narrow.ids.index(f"cat/wide-{number}.png") for number in range(2)]
    assert narrow.ids == dark.ids
    for row, values in zip(rows, wide, strict=True):
        assert np.array_equal(narrow.pixels[row][:, :, 0], values >> 4)
        assert np.array_equal(dark.pixels[row][:, :, 0], values >> 8)
    keys = [set(as_they_are(data, np.array(rows)).keys) for data in (narrow, dark)]
    assert not keys[0] & keys[1]
    with pytest.raises(InputError, match="2 of 42 photos have 16 bits"):  # nor where none was said
        _prepare(root)
