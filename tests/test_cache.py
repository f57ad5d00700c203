"""Rows found by their key; whatever was not finished is not there."""

from __future__ import annotations

import hashlib
import os
import tracemalloc
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tledge.cache import Array, Remedy, RowCache, cache_root, read_rows, store_checked, stored
from tledge.errors import EnvironmentFault, environment_fault
from tledge.progress import Progress, Silent

pytestmark = pytest.mark.usefixtures("empty_cache")


def _key(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def _row(number: int) -> Array:
    return np.full((2, 3), number, np.float32)


def _cache(progress: Progress | None = None) -> RowCache:
    return RowCache("rows", (2, 3), np.float32, progress)


def _fill(*numbers: int) -> RowCache:
    cache = _cache()
    cache.add([(_key(number), _row(number)) for number in numbers], len(numbers))
    return cache


def test_rows_are_found_by_key_in_the_order_asked_across_segments_and_processes() -> None:
    _fill(1, 2, 3)
    _fill(4, 5)
    rows = _cache().rows([_key(number) for number in (5, 1, 4, 1)])
    assert rows[:][:, 0, 0].tolist() == [5, 1, 4, 1]
    assert rows[2].tolist() == _row(4).tolist()
    assert rows[np.array([1, 0])][:, 0, 0].tolist() == [1, 5]
    assert rows.select(np.array([3, 0]))[:][:, 0, 0].tolist() == [1, 5]
    assert [batch[:, 0, 0].tolist() for batch in rows.batches(3)] == [[5, 1, 4], [1]]


def test_a_key_that_is_not_cached_is_a_key_error() -> None:
    cache = _fill(1)
    assert _key(1) in cache
    assert _key(2) not in cache
    with pytest.raises(KeyError):
        cache.rows([_key(2)])


@pytest.mark.parametrize("suffix", [".rows", ".keys", ".sums", "other keys"])
def test_a_segment_cut_short_or_of_other_keys_is_not_read_and_removed_where_that_can_be_told(suffix: str) -> None:
    path = next(_fill(1, 2).folder.glob("*.keys" if suffix == "other keys" else f"*{suffix}"))
    _fill(3)
    data = path.read_bytes()
    path.write_bytes(data[::-1] if suffix == "other keys" else data[:-1])
    found, progress = _cache(), Silent()
    assert [_key(number) in found for number in (1, 2, 3)] == [False, False, True]
    assert len(list(found.folder.iterdir())) == 6
    assert _key(3) in _cache(progress)
    assert progress.warnings == [
        f"{found.folder}: 1 of its files are not as they were written. What they held is made again."
    ]
    assert len(list(found.folder.iterdir())) == 3


def test_a_segment_without_its_index_was_never_finished() -> None:
    cache = _fill(1)
    next(cache.folder.glob("*.keys")).unlink()
    assert len(_cache()) == 0


def test_a_missing_data_file_is_a_segment_less() -> None:
    cache = _fill(1)
    next(cache.folder.glob("*.rows")).unlink()
    assert len(_cache()) == 0


def _damage(cache: RowCache, *rows: int, suffix: str = ".rows") -> None:
    """Other bytes of the same size in these rows of the only segment."""
    (path,) = cache.folder.glob(f"*{suffix}")
    size = 4 if suffix == ".sums" else path.stat().st_size // len(cache)
    data = bytearray(path.read_bytes())
    for row in rows:
        data[row * size] ^= 1
    path.write_bytes(data)


def _remedy(progress: Progress, asked: list[int]) -> Remedy:
    numbers = {_key(number): number for number in range(100)}

    def make(keys: Collection[bytes]) -> Iterator[tuple[bytes, Array]]:
        for key in keys:
            asked.append(numbers[key])
            yield key, _row(numbers[key])

    return Remedy(make, progress)


@pytest.mark.parametrize("suffix", [".rows", ".sums"])
def test_damaged_rows_are_made_again_in_their_place_once_and_told_together(suffix: str) -> None:
    numbers, progress, asked = list(range(10)), Silent(), list[int]()
    _damage(_fill(*numbers), 3, 7, suffix=suffix)
    rows = _cache().rows([_key(number) for number in numbers], _remedy(progress, asked))
    assert rows[:3][:, 0, 0].tolist() == [0, 1, 2]
    assert asked == []  # what is not read is not looked at
    assert [batch[:, 0, 0].tolist() for batch in rows.select(np.arange(10)).batches(4)] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9],
    ]
    assert rows[7].tolist() == _row(7).tolist()
    assert asked == [3, 7]
    assert progress.warnings == [f"{_cache().folder}: 2 of 10 rows are not as they were written. They were made again."]
    found = _cache().rows([_key(number) for number in numbers])  # no remedy is needed any more
    assert found[:][:, 0, 0].tolist() == numbers


def test_the_file_of_another_segment_in_place_of_ones_own_is_seen() -> None:
    first = next(_fill(1, 2).folder.glob("*.rows"))
    second = next(path for path in _fill(3, 4).folder.glob("*.rows") if path != first)
    second.write_bytes(first.read_bytes())
    asked: list[int] = []
    rows = _cache().rows([_key(number) for number in (1, 2, 3, 4)], _remedy(Silent(), asked))
    assert rows[:][:, 0, 0].tolist() == [1, 2, 3, 4]
    assert asked == [3, 4]
    second.write_bytes(first.read_bytes())
    second.with_suffix(".sums").write_bytes(first.with_suffix(".sums").read_bytes())  # which are of other keys
    assert [_key(number) in _cache() for number in (1, 2, 3, 4)] == [True, True, False, False]


def test_a_damaged_row_that_can_not_be_made_again_is_an_error_of_the_environment_and_never_read() -> None:
    _damage(_fill(1, 2), 1)
    keys = [_key(1), _key(2)]
    assert _cache().rows(keys)[0].tolist() == _row(1).tolist()
    assert (_cache().whole(_key(1)) == _row(1)).all()  # type: ignore[union-attr]
    assert _cache().whole(_key(2)) is None
    assert _cache().whole(_key(3)) is None
    with pytest.raises(EnvironmentFault, match="1 of 2 rows are not as they were written. Remove this folder"):
        _cache().rows(keys)[:]
    with pytest.raises(EnvironmentFault, match="1 of 2 rows .*, and 1 of them can't be made again"):
        _cache().rows(keys, Remedy(lambda keys: [], Silent()))[:]


def test_threads_that_meet_the_same_damage_make_it_again_once() -> None:
    numbers, asked = list(range(40)), list[int]()
    _damage(_fill(*numbers), *range(0, 40, 2))
    rows = _cache().rows([_key(number) for number in numbers], _remedy(Silent(), asked))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda number: rows[number][0, 0], numbers))
    assert found == numbers
    assert sorted(asked) == list(range(0, 40, 2))


def test_rows_without_checksums_are_of_an_earlier_tledge_told_once_and_made_again() -> None:
    cache, progress = _fill(1, 2), Silent()
    next(cache.folder.glob("*.sums")).unlink()
    assert len(_cache()) == 0
    assert len(_cache(progress)) == len(_cache(progress)) == 0
    assert progress.warnings == [
        f"{cache.folder}: kept by an earlier tledge, without checksums. It is made again, once."
    ]
    assert list(cache.folder.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_writer_that_stops_half_way_leaves_nothing(error: type[BaseException]) -> None:
    def rows() -> Iterator[tuple[bytes, Array]]:
        yield _key(1), _row(1)
        raise error

    cache = _cache()
    with pytest.raises(error):
        cache.add(rows(), 2)
    assert list(cache.folder.iterdir()) == []


def test_two_writers_may_keep_the_same_row() -> None:
    one, two = _cache(), _cache()
    for cache in (one, two):
        cache.add([(_key(7), _row(7))], 1)
    found = _cache()
    assert len(found) == 1
    assert found.rows([_key(7)])[0].tolist() == _row(7).tolist()


def test_nothing_to_add_leaves_no_file() -> None:
    cache = _cache()
    cache.add([], 0)
    assert list(cache.folder.iterdir()) == []


def test_rows_that_would_not_fit_are_refused_before_anything_is_written() -> None:
    cache = _cache()
    with pytest.raises(EnvironmentFault, match="TLEDGE_CACHE_DIR") as caught:
        cache.add([(_key(1), _row(1))], 10**15)
    assert "no space left on the disk" in str(caught.value)
    assert list(cache.folder.iterdir()) == []


def test_a_cache_folder_that_can_not_be_made_names_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TLEDGE_CACHE_DIR", str(tmp_path / "file" / "cache"))
    with pytest.raises(EnvironmentFault, match="Set TLEDGE_CACHE_DIR"):
        _fill(1)


def test_the_cache_is_where_the_variables_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_root() == tmp_path / "cache"
    monkeypatch.delenv("TLEDGE_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root() == tmp_path / "xdg" / "tledge"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_root() == Path.home() / ".cache" / "tledge"


def test_reading_all_rows_of_a_large_file_takes_the_memory_of_one_batch() -> None:
    def resident_bytes() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    if not Path("/proc/self/statm").exists():
        pytest.skip("only Linux tells a process's memory in /proc")
    size, count = 1_000_000, 200
    cache = RowCache("large", (size,), np.uint8)
    keys = [_key(number) for number in range(count)]
    cache.add(((key, np.full(size, number, np.uint8)) for number, key in enumerate(keys)), count)
    rows = RowCache("large", (size,), np.uint8).rows(keys)
    before, most = resident_bytes(), 0
    for batch in rows.batches(10):
        most = max(most, resident_bytes())
        assert batch[0, 0] == batch[0, -1]
    assert rows[count - 1][0] == count - 1
    assert most - before < 0.2 * size * count


def test_what_is_read_of_a_map_is_its_own_and_no_longer_of_the_map(tmp_path: Path) -> None:
    rows = stored(tmp_path / "file", [np.stack([_row(1), _row(2), _row(3)])], (2, 3), np.float32)
    for index in (1, slice(1, 3), np.array([2, 0, 2]), rows[:, 0, 0] > 1, (np.array([0, 1]), np.array([1, 0]))):
        found = read_rows(rows, index)
        assert type(found) is np.ndarray
        assert not np.may_share_memory(found, rows)
        assert found.tolist() == rows[index].tolist()


def test_an_array_of_indices_copies_rows_once(tmp_path: Path) -> None:
    rows = stored(tmp_path / "file", [np.zeros((100, 10_000), np.float32)], (10_000,), np.float32)
    tracemalloc.start()
    try:
        found = read_rows(rows, np.arange(100))
        assert found.nbytes <= tracemalloc.get_traced_memory()[1] < 1.5 * found.nbytes
    finally:
        tracemalloc.stop()


def test_batches_are_stored_as_one_map(tmp_path: Path) -> None:
    batches = [np.stack([_row(1), _row(2)]), np.stack([_row(3)])]
    found = stored(tmp_path / "file", iter(batches), (2, 3), np.float16)
    assert isinstance(found, np.memmap)
    assert (found.dtype, found.shape) == (np.float16, (3, 2, 3))
    assert found[:, 0, 0].tolist() == [1, 2, 3]
    assert stored(tmp_path / "none", [], (2, 3), np.float16).shape == (0, 2, 3)


def test_scratch_rows_that_are_not_as_they_were_written_are_an_error_of_the_environment(tmp_path: Path) -> None:
    batches = [np.stack([_row(1), _row(2)]), np.stack([_row(3)])]
    found = store_checked(tmp_path / "file", iter(batches), (2, 3), np.float16)
    assert (len(found), found.shape) == (3, (3, 2, 3))
    assert found[np.array([2, 0, 2])][:, 0, 0].tolist() == [3, 1, 3]
    data = bytearray((tmp_path / "file").read_bytes())
    data[12] ^= 1
    (tmp_path / "file").write_bytes(data)
    assert found[2:][:, 0, 0].tolist() == [3]
    with pytest.raises(EnvironmentFault, match=r"its disk gives other bytes than were written\. Begin again"):
        found[:2]
    assert len(store_checked(tmp_path / "none", [], (2, 3), np.float16)[:]) == 0


def test_a_disk_that_fills_up_while_batches_are_stored_is_an_error_and_no_crash(
    small_disk: Callable[[int], Path],
) -> None:
    batches = (np.zeros((1000, 2, 3), np.float32) for _ in range(1000))
    with pytest.raises(OSError, match="No space left") as caught:
        stored(small_disk(200_000) / "file", batches, (2, 3), np.float32)
    assert isinstance(environment_fault(caught.value), EnvironmentFault)
