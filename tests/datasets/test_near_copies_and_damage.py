"""Near copies part no photo from its test split; what the disk gives otherwise than it was written is read again."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tledge.cache import cache_root
from tledge.datasets.caches import pixel_cache
from tledge.datasets.folder import open_folder
from tledge.datasets.prepare import Dataset, prepare_dataset
from tledge.errors import EnvironmentFault
from tledge.near_copies import MAX_DISTANCE
from tledge.preprocessing import AS_BUILDS_DO
from tledge.progress import Silent

pytestmark = pytest.mark.usefixtures("empty_cache")
SIZE = 32


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Forty pictures in two classes, smooth as photos are."""
    rng = np.random.default_rng(0)
    for number in range(40):
        folder = tmp_path / "scenes" / ("cat", "dog")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
        image.resize((120, 90), Image.Resampling.BICUBIC).save(folder / f"{number:03d}.png")
    return tmp_path / "scenes"


def _prepare(root: Path, progress: Silent | None = None) -> Dataset:
    return prepare_dataset(open_folder(root), SIZE, 0, progress or Silent())


def _places(data: Dataset) -> dict[str, str]:
    return {data.ids[row]: name for name, rows in data.splits.rows.items() for row in rows}


def _again(path: Path, name: str, size: tuple[int, int] = (80, 60)) -> Path:
    """The picture, smaller and as JPEG, beside itself."""
    with Image.open(path) as image:
        image.resize(size).save(path.with_name(name), quality=85)
    return path.with_name(name)


def _parted(root: Path) -> tuple[str, str, dict[str, str]]:
    """A test photo, a near copy of it that the hash alone puts into training, and where all photos were before."""
    before = _places(_prepare(root))
    test = next(name for name, split in sorted(before.items()) if split == "test")
    for width in range(60, 120):  # until the copy's own hash is one of the training split
        copy = _again(root / test, "copy.jpg", (width, 60))
        data = _prepare(root)
        name = str(copy.relative_to(root))
        if [one.id for one in data.near_copies.dropped] == [name] or _places(data).get(name) == "train":
            return test, name, before
    raise AssertionError("no copy was put into training")


def test_a_near_copy_of_a_test_photo_is_left_out_of_training_and_named_and_moves_no_photo(scenes: Path) -> None:
    test, copy, before = _parted(scenes)
    progress = Silent()
    data = _prepare(scenes, progress)
    assert _places(data) == before
    (dropped,) = data.record().near_copies_dropped
    assert (dropped.id, dropped.of, dropped.split) == (copy, test, "test")
    assert 0 < dropped.distance < MAX_DISTANCE
    assert progress.warnings == [f"left out near copies of photos of a later split: {copy} (of {test}, test)"]
    assert sum(record.num_photos for record in data.split_records().values()) == 40


def test_a_near_copy_of_another_class_is_kept_and_told(scenes: Path) -> None:
    _, copy, _ = _parted(scenes)
    other = copy.replace("cat", "dog") if copy.startswith("cat") else copy.replace("dog", "cat")
    (scenes / copy).rename(scenes / other)
    progress = Silent()
    data = _prepare(scenes, progress)
    assert _places(data)[other] == "train"
    assert (data.record().near_copies_dropped, data.record().near_copies_kept) == ([], 1)
    assert "1 photo is as near to one of a later split as a copy is, and kept" in progress.warnings[0]


def test_frames_of_a_fixed_camera_are_all_kept_and_their_number_is_told(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    scene = np.asarray(Image.fromarray(rng.integers(40, 216, (6, 6, 3), np.uint8)).resize((96, 96)), np.int64)
    for number in range(100):
        frame = scene + rng.integers(-3, 4, scene.shape)
        x, y = rng.integers(0, 90, 2)
        frame[y : y + 6, x : x + 6] += (-40, 40)[number % 2]
        folder = tmp_path / "frames" / ("good", "bad")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(frame.clip(0, 255).astype(np.uint8)).save(folder / f"{number:03d}.jpg", quality=90)
    progress = Silent()
    data = _prepare(tmp_path / "frames", progress)
    record = data.record()
    assert record.near_copies_dropped == []
    assert record.near_copies_kept > 20
    assert len(_places(data)) == 100
    (warning,) = progress.warnings
    assert warning.startswith(
        f"{record.near_copies_kept} photos are as near to one of a later split as a copy is, and kept"
    )


def _damage(namespace: str, rows: range, count: int = 40) -> None:
    """Zeros in some rows of a namespace's file."""
    (path,) = cache_root().glob(f"{namespace}-v*/**/*.rows")
    data = bytearray(path.read_bytes())
    size = len(data) // count
    for row in rows:
        data[row * size : (row + 1) * size] = bytes(size)
    path.write_bytes(data)


@pytest.mark.parametrize("namespace", ["pixels", "pixel-digests", "fingerprints"])
def test_damaged_rows_are_made_again_from_the_photos_and_told(scenes: Path, namespace: str) -> None:
    before = _prepare(scenes)
    expected = before.pixels[:]
    _damage(namespace, range(0, 40, 4))
    progress = Silent()
    data = _prepare(scenes, progress)
    assert np.array_equal(data.pixels[:], expected)
    assert _places(data) == _places(before)
    assert np.array_equal(data.fingerprints, before.fingerprints)
    assert len(progress.warnings) == 1
    assert "10 of 40 rows are not as they were written. They were made again" in progress.warnings[0]
    calm = Silent()
    assert np.array_equal(_prepare(scenes, calm).pixels[:], expected)
    assert calm.warnings == []


def test_a_cache_without_checksums_is_made_again_once_and_told_once(scenes: Path) -> None:
    expected = _prepare(scenes).pixels[:]
    _damage("pixels", range(0, 40, 4))
    for path in cache_root().glob("pixels-v*/**/*.sums"):
        path.unlink()
    progress = Silent()
    assert np.array_equal(_prepare(scenes, progress).pixels[:], expected)
    assert np.array_equal(_prepare(scenes, progress).pixels[:], expected)
    (warning,) = progress.warnings
    assert "without checksums. It is made again, once" in warning


def test_a_damaged_photo_that_is_gone_is_named_with_the_way_out(scenes: Path, tmp_path: Path) -> None:
    data = _prepare(scenes)
    _damage("pixels", range(2, 4))
    gone = scenes / data.ids[3]
    shutil.move(gone, tmp_path / gone.name)
    with pytest.raises(EnvironmentFault) as caught:
        data.pixels[:]
    assert f"1 photo is damaged in the cache, and can't be read again ({data.ids[3]})" in str(caught.value)
    assert "Restore the data set, or build again" in str(caught.value)
    assert caught.value.exit_code == 3
    assert data.pixels[:3].shape == (3, SIZE, SIZE, 3)
    shutil.move(tmp_path / gone.name, gone)
    assert np.array_equal(data.pixels[:], _prepare(scenes).pixels[:])


def test_no_row_is_read_by_a_program_that_does_not_know_of_its_damage(scenes: Path) -> None:
    data = _prepare(scenes)
    _damage("pixels", range(40))
    cache = pixel_cache(SIZE, AS_BUILDS_DO)
    assert all(cache.whole(key) is None for key in data.content_sha256)
