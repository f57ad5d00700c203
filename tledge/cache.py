"""Rows of a fixed size are kept on disk, and found by what they were made from.

Pixels and features are expensive and never change. Both are kept as rows of one shape and dtype, under a SHA-256 as
key. A namespace is a folder of segments. A segment is a data file, checksums and an index. The index is written last,
so a segment without an index was never finished and is not read. Writers only add segments: two processes may fill one
namespace at once, and at worst both keep the same row.

A disk may return other bytes than were written. Each row is therefore compared with its checksum whenever it is read,
and made again where it differs. The checksum is a CRC-32 of key and row. It guards against accidents, not against
attacks.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import threading
import uuid
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from tledge.errors import EnvironmentFault, InputError
from tledge.files import atomic_write, make_folder, working_folder
from tledge.home import expanded
from tledge.locks import flock
from tledge.outputs import make_cache
from tledge.progress import Progress
from tledge.room import require_space

Array = npt.NDArray[np.generic]
Places = npt.NDArray[np.int64]  # (N, 2): segment, row in it
KEY_BYTES = 32
_SUM_BYTES = 4
_LOOKED_AT = 256  # rows that are checked at a time once one was found damaged
_ELSEWHERE = "Set TLEDGE_CACHE_DIR to a folder that can be written."
_Number = TypeVar("_Number", bound=np.generic)


def cache_root() -> Path:
    """Return the cache's folder: ``$TLEDGE_CACHE_DIR``, or ``tledge`` in the user's cache folder.

    Raises EnvironmentFault where neither is known, as in a container whose user has no home folder.
    """
    named, base = os.environ.get("TLEDGE_CACHE_DIR"), os.environ.get("XDG_CACHE_HOME")
    try:
        if named:
            return expanded(named, f"the cache {named}", _ELSEWHERE)
        return (Path(base) if base else expanded("~", "the cache", _ELSEWHERE) / ".cache") / "tledge"
    except InputError as error:
        raise EnvironmentFault(str(error)) from error


def made_root() -> Path:
    """Make the cache's folder if it is missing, and return it."""
    make_cache(cache_root(), _ELSEWHERE)
    return cache_root()


def scratch_folder() -> contextlib.AbstractContextManager[Path]:
    """Give a new folder on the cache's disk, which is removed at the end.

    A temporary folder of the system may be memory.
    """
    root = made_root() / "scratch"
    make_folder(root, _ELSEWHERE)
    return working_folder(root, "")


def stored(
    path: Path, batches: Iterable[npt.NDArray[Any]], row_shape: tuple[int, ...], dtype: type[_Number]
) -> npt.NDArray[_Number]:
    """Write batches (n, *row_shape) to a new file, and return a read-only memory map (N, *row_shape) of it.

    A disk that fills up meanwhile raises OSError. Filling a memory map instead would end the process by a signal.
    """
    with path.open("wb") as file:
        for batch in batches:
            file.write(np.ascontiguousarray(batch, dtype).data)
        is_empty = not file.tell()
    if is_empty:  # an empty file can not be mapped
        return np.empty((0, *row_shape), dtype)
    return np.memmap(path, dtype, "r").reshape(-1, *row_shape)


def read_rows(rows: npt.NDArray[_Number], index: Any) -> npt.NDArray[_Number]:
    """Copy some rows out of a memory map, without keeping the map's pages in memory.

    What was read through a map counts as memory of this process, up to the whole file, although the system may take it
    back at any time. A limit on memory, or a person who looks at it, would take that for a need.
    """
    found = rows[index]
    if np.may_share_memory(found, rows):  # an array of indices has made a copy already
        found = np.array(found)
    if isinstance(rows, np.memmap) and hasattr(mmap, "MADV_DONTNEED"):
        rows._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]
    return np.asarray(found)


class Checked:
    """This class reads rows of a scratch file, and compares them with their checksums each time.

    :func:`store_checked` makes it.
    """

    def __init__(self, path: Path, rows: npt.NDArray[Any], sums: npt.NDArray[np.uint32]) -> None:
        self.shape = rows.shape
        self._path, self._rows, self._sums = path, rows, sums

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: slice | npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Return some rows, (n, *row_shape).

        Raises EnvironmentFault where a row is not as it was written.
        """
        found = read_rows(self._rows, index)
        if [zlib.crc32(row) for row in found] != self._sums[index].tolist():
            raise EnvironmentFault(
                f"{self._path}: its disk gives other bytes than were written. Begin again, on another disk. {_ELSEWHERE}"
            )
        return found


def store_checked(
    path: Path, batches: Iterable[npt.NDArray[Any]], row_shape: tuple[int, ...], dtype: type[np.generic]
) -> Checked:
    """Write batches (n, *row_shape) one after another to a new file, and return its rows with their checksums.

    The file is written as :func:`stored` does it.
    """
    sums: list[int] = []

    def noted() -> Iterator[npt.NDArray[Any]]:
        for batch in batches:
            rows = np.ascontiguousarray(batch, dtype)
            sums.extend(zlib.crc32(row) for row in rows)
            yield rows

    rows = stored(path, noted(), row_shape, dtype)
    return Checked(path, rows, np.array(sums, np.uint32))


@dataclass(frozen=True)
class Remedy:
    """A remedy makes rows again whose bytes on the disk are no longer the bytes that were written.

    ``make`` takes keys and gives each key with its row. It raises EnvironmentFault, with the way out, where it can't.
    """

    make: Callable[[Collection[bytes]], Iterable[tuple[bytes, Array]]]
    progress: Progress


class CachedRows(Sequence[Array]):
    """These rows are read from disk when they are asked for, in the order of their keys, and checked each time."""

    def __init__(
        self, cache: RowCache, places: Places, remedy: Remedy | None = None, among: Places | None = None
    ) -> None:
        self._cache = cache
        self._places = places
        self._remedy = remedy
        self._among = places if among is None else among  # where one row is damaged, all of these are checked

    def select(self, index: npt.NDArray[np.int64]) -> CachedRows:
        """Return some of the rows, in the order of ``index``, without reading any yet."""
        return CachedRows(self._cache, self._places[index], self._remedy, self._among)

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Return the shape of one row, without reading one."""
        return self._cache.shape

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int | slice | npt.NDArray[np.int64]) -> Array:  # type: ignore[override]
        """Return one row for an int, and rows stacked as (N, *shape) for a slice or an index array.

        Damaged rows are made again. Raises EnvironmentFault where they can't be.
        """
        places = self._places[index]
        found, is_whole = self._cache.read(places.reshape(-1, 2))
        if not is_whole.all():
            self._cache.mend(self._among, self._remedy)
            found, is_whole = self._cache.read(places.reshape(-1, 2))
            if not is_whole.all():
                raise EnvironmentFault(f"{self._cache.folder}: its disk does not keep what is written. {_ELSEWHERE}")
        return found[0] if places.ndim == 1 else found

    def batches(self, size: int) -> Iterator[Array]:
        """Yield the rows in order, ``size`` at a time."""
        for start in range(0, len(self), size):
            yield self[start : start + size]


class _Segment(NamedTuple):
    """A segment holds read-only memory maps: ``rows`` (N, *shape), ``keys`` uint8 (N, 32), ``sums`` uint32 (N,)."""

    data: Path
    rows: Array
    keys: npt.NDArray[np.uint8]
    sums: npt.NDArray[np.uint32]


class RowCache:
    """A cache holds one namespace of rows, each of ``shape`` and ``dtype``.

    ``progress`` is warned of segments that can't be read. They are removed, and whoever needs their rows makes them
    again. Without ``progress`` such segments are skipped.
    """

    def __init__(
        self, namespace: str, shape: tuple[int, ...], dtype: npt.DTypeLike, progress: Progress | None = None
    ) -> None:
        self.folder = cache_root() / namespace
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.row_bytes = int(np.prod(shape)) * self.dtype.itemsize
        self._places: dict[bytes, tuple[int, int]] = {}
        self._segments: list[_Segment] = []
        self._mending = threading.Lock()
        unread = [index for index in sorted(self.folder.glob("*.keys")) if not self._adopted_if_mine(index)]
        if unread and progress:
            self._remove(unread, progress)

    def _adopted_if_mine(self, index: Path) -> bool:
        """Take in a segment as :meth:`_adopt` does, and pass over one that another user keeps or that is gone by now."""
        try:
            return self._adopt(index)
        except (PermissionError, FileNotFoundError):
            return True

    def _adopt(self, index: Path) -> bool:
        """Take in a segment, and return whether it is whole.

        A segment is not whole where it has no checksums, its length has changed, or its keys differ from their
        checksum.
        """
        keys, data, sums = index.read_bytes(), index.with_suffix(".rows"), index.with_suffix(".sums")
        count = len(keys) // KEY_BYTES
        sizes = {index: count * KEY_BYTES, data: count * self.row_bytes, sums: (count + 1) * _SUM_BYTES}
        if not count or any(not path.is_file() or path.stat().st_size != size for path, size in sizes.items()):
            return False
        found = np.memmap(sums, np.uint32, "r")
        if found[count] != zlib.crc32(keys):
            return False
        for row in range(count):
            self._places.setdefault(keys[row * KEY_BYTES : (row + 1) * KEY_BYTES], (len(self._segments), row))
        self._segments.append(
            _Segment(
                data,
                np.memmap(data, self.dtype, "r", shape=(count, *self.shape)),
                np.frombuffer(keys, np.uint8).reshape(count, KEY_BYTES),
                found[:count],
            )
        )
        return True

    def _remove(self, unread: Sequence[Path], progress: Progress) -> None:
        old = [index for index in unread if not index.with_suffix(".sums").exists()]
        torn = len(unread) - len(old)
        if old:
            progress.warn(f"{self.folder}: kept by an earlier tledge, without checksums. It is made again, once.")
        if torn:
            progress.warn(
                f"{self.folder}: {torn} of its files are not as they were written. What they held is made again."
            )
        for index in unread:
            for suffix in (".keys", ".rows", ".sums"):  # the index first: without it the others are not read
                with contextlib.suppress(PermissionError):  # another user's, who will remove it
                    index.with_suffix(suffix).unlink(missing_ok=True)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    def rows(self, keys: Sequence[bytes], remedy: Remedy | None = None) -> CachedRows:
        """Return the rows of ``keys``, in their order; nothing is read yet.

        Raises KeyError where a key is not cached. ``remedy`` makes damaged rows again. Without a remedy, reading a
        damaged row raises EnvironmentFault.
        """
        return CachedRows(self, np.array([self._places[key] for key in keys], np.int64).reshape(-1, 2), remedy)

    def whole(self, key: bytes) -> Array | None:
        """Return the row of a key, or None where it is not cached or not as it was written."""
        if key not in self._places:
            return None
        (found,), (is_whole,) = self.read(np.array([self._places[key]], np.int64))
        return found if is_whole else None

    def read(self, places: Places) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Return the rows at these places, (N, *shape), and whether each is as it was written, bool (N,)."""
        rows, is_whole = np.empty((len(places), *self.shape), self.dtype), np.empty(len(places), np.bool_)
        for number in np.unique(places[:, 0]):
            segment, mine = self._segments[number], places[:, 0] == number
            some = places[mine, 1]
            rows[mine] = found = read_rows(segment.rows, some)
            is_whole[mine] = _sums(segment.keys[some], found) == segment.sums[some]
        return rows, is_whole

    def mend(self, among: Places, remedy: Remedy | None) -> None:
        """Make the damaged ones among these rows again, in their place, and warn how many there were.

        Raises EnvironmentFault where they can't be made again.
        """
        with self._mending:  # a thread that waited here finds nothing left to do
            damaged = [
                place
                for start in range(0, len(among), _LOOKED_AT)
                for place in among[start : start + _LOOKED_AT][~self.read(among[start : start + _LOOKED_AT])[1]]
            ]
            # The order is that of reading: rows are then made again in one order, whatever Python's hashes are.
            keys = dict.fromkeys(self._segments[number].keys[row].tobytes() for number, row in damaged)
            if not keys:
                return
            told = f"{self.folder}: {len(keys)} of {len(among)} rows are not as they were written"
            if remedy is None:
                raise EnvironmentFault(f"{told}. Remove this folder: what it holds is made again.")
            for key, row in remedy.make(list(keys)):
                self.rewrite(key, row)
                del keys[key]
            if keys:
                raise EnvironmentFault(f"{told}, and {len(keys)} of them can't be made again. Build the run again.")
            remedy.progress.warn(f"{told}. They were made again.")

    def rewrite(self, key: bytes, row: Array) -> None:
        """Write a damaged row again.

        Other processes that read it meanwhile find it whole, or make it again themselves.
        """
        number, place = self._places[key]
        data, content = self._segments[number].data, np.ascontiguousarray(row, self.dtype)
        for path, found in ((data, content.tobytes()), (data.with_suffix(".sums"), _sum(key, content).tobytes())):
            with path.open("r+b") as file:
                file.seek(place * len(found))
                file.write(found)

    def add(self, rows: Iterable[tuple[bytes, Array]], expected: int) -> None:
        """Append a segment of at most ``expected`` rows.

        Raises EnvironmentFault before anything is written where so many rows would not fit on the disk.
        """
        made_root()
        make_folder(self.folder, _ELSEWHERE)
        require_space(self.folder, expected * self.row_bytes)
        self._remove_abandoned()
        data = self.folder / f"{uuid.uuid4().hex}.rows"
        keys: list[bytes] = []
        sums: list[bytes] = []
        try:
            with data.open("wb") as file:
                flock(data, file.fileno(), fcntl.LOCK_EX)  # held until the index stands: see _remove_abandoned
                for key, row in rows:
                    content = np.ascontiguousarray(row, self.dtype)
                    file.write(content.tobytes())
                    keys.append(key)
                    sums.append(_sum(key, content).tobytes())
                if not keys:
                    data.unlink()
                    return
                file.flush()
                os.fsync(file.fileno())
                index, names = data.with_suffix(".keys"), b"".join(keys)
                sums.append(np.uint32(zlib.crc32(names)).tobytes())
                atomic_write(data.with_suffix(".sums"), b"".join(sums))
                atomic_write(index, names)
        except BaseException:
            for path in (data, data.with_suffix(".sums")):
                path.unlink(missing_ok=True)
            raise
        self._adopt(index)

    def _remove_abandoned(self) -> None:
        """Remove data without an index whose writer is gone.

        A killed build would otherwise leave such data forever.
        """
        for data in self.folder.glob("*.rows"):
            with contextlib.suppress(OSError), data.open("rb") as file:  # another process may remove it first
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not data.with_suffix(".keys").exists() and data.stat().st_size:
                    data.with_suffix(".sums").unlink(missing_ok=True)
                    data.unlink()


def _sum(key: bytes, row: Array) -> np.uint32:
    return np.uint32(zlib.crc32(row.data, zlib.crc32(key)))


def _sums(keys: npt.NDArray[Any], rows: npt.NDArray[Any]) -> npt.NDArray[np.uint32]:
    """Return the checksum of each row, uint32 (N,); ``keys`` are uint8 (N, 32), ``rows`` (N, *shape) in C order."""
    return np.array([zlib.crc32(row, zlib.crc32(key)) for key, row in zip(keys, rows, strict=True)], np.uint32)
