"""Fixed-size rows on disk, found by what they were made from.

Pixels and features are expensive and never change, so both are kept as rows of one shape and dtype,
keyed by a SHA-256. A namespace is a folder of segments; a segment is a data file and an index that
is written last, so a segment without its index was never finished and is not read. Writers only add
segments: two processes may fill one namespace at once, and at worst both keep the same row.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from tledge.files import atomic_write, make_folder, working_folder
from tledge.outputs import make_cache
from tledge.room import require_space

Array = npt.NDArray[np.generic]
KEY_BYTES = 32
_ELSEWHERE = "Set TLEDGE_CACHE_DIR to a folder that can be written."
_Number = TypeVar("_Number", bound=np.generic)


def cache_root() -> Path:
    """``$TLEDGE_CACHE_DIR``, or ``tledge`` in the user's cache folder."""
    named = os.environ.get("TLEDGE_CACHE_DIR")
    if named:
        return Path(named).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "tledge"


def scratch_folder() -> contextlib.AbstractContextManager[Path]:
    """A folder on the cache's disk that is gone at the end: a temporary folder of the system may be memory."""
    make_cache(cache_root(), _ELSEWHERE)
    root = cache_root() / "scratch"
    make_folder(root, _ELSEWHERE)
    return working_folder(root, "")


def stored(
    path: Path, batches: Iterable[npt.NDArray[Any]], row_shape: tuple[int, ...], dtype: type[_Number]
) -> npt.NDArray[_Number]:
    """Write batches (n, *row_shape) one after another to a new file; a read-only memory map (N, *row_shape) of it.

    A disk that fills up on the way is an OSError. Filling a map instead would end the process by a signal.
    """
    with path.open("wb") as file:
        for batch in batches:
            file.write(np.ascontiguousarray(batch, dtype).data)
        is_empty = not file.tell()
    if is_empty:  # a map of nothing can not be made
        return np.empty((0, *row_shape), dtype)
    return np.memmap(path, dtype, "r").reshape(-1, *row_shape)


def read(rows: npt.NDArray[_Number], index: Any) -> npt.NDArray[_Number]:
    """A copy of some of the rows of a memory map, read without keeping it in memory.

    What was read through a map counts as memory of this process, up to the whole file, although the system may take
    it back at any time: a limit on memory, and a person who looks at it, would take that for a need.
    """
    found = rows[index]
    if np.may_share_memory(found, rows):  # an array of indices has made a copy already
        found = np.array(found)
    if isinstance(rows, np.memmap) and hasattr(mmap, "MADV_DONTNEED"):
        rows._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]
    return np.asarray(found)


class Rows(Sequence[Array]):
    """Rows in the order of their keys, read from disk as they are asked for."""

    def __init__(self, cache: RowCache, places: npt.NDArray[np.int64]) -> None:
        self._cache = cache
        self._places = places  # (N, 2): segment, row in it

    def select(self, index: npt.NDArray[np.int64]) -> Rows:
        """Some of the rows, in the order of ``index``; nothing is read yet."""
        return Rows(self._cache, self._places[index])

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Of one row; known without reading one."""
        return self._cache.shape

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int | slice | npt.NDArray[np.int64]) -> Array:  # type: ignore[override]
        """One row for an int; for a slice or an index array, rows stacked as (N, *shape)."""
        places = self._places[index]
        if places.ndim == 1:
            return read(self._cache.segment(int(places[0])), places[1])
        out = np.empty((len(places), *self._cache.shape), self._cache.dtype)
        for segment in np.unique(places[:, 0]):
            mine = places[:, 0] == segment
            out[mine] = read(self._cache.segment(int(segment)), places[mine, 1])
        return out

    def batches(self, size: int) -> Iterator[Array]:
        """The rows in order, ``size`` at a time."""
        for start in range(0, len(self), size):
            yield self[start : start + size]


class RowCache:
    """One namespace of rows, each ``shape`` of ``dtype``."""

    def __init__(self, namespace: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
        self.folder = cache_root() / namespace
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.row_bytes = int(np.prod(shape)) * self.dtype.itemsize
        self._places: dict[bytes, tuple[int, int]] = {}
        self._segments: list[Array] = []  # read-only memory maps (N, *shape)
        for index in sorted(self.folder.glob("*.keys")):
            self._adopt(index)

    def _adopt(self, index: Path) -> None:
        keys = index.read_bytes()
        count = len(keys) // KEY_BYTES
        data = index.with_suffix(".rows")
        if not count or not data.is_file() or data.stat().st_size != count * self.row_bytes:
            return  # cut short by someone else: its rows are made again
        for row in range(count):
            self._places.setdefault(keys[row * KEY_BYTES : (row + 1) * KEY_BYTES], (len(self._segments), row))
        self._segments.append(np.memmap(data, self.dtype, "r", shape=(count, *self.shape)))

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    def segment(self, number: int) -> Array:
        """A segment's rows, (N, *shape)."""
        return self._segments[number]

    def rows(self, keys: Sequence[bytes]) -> Rows:
        """The rows of ``keys``, in their order. Raises KeyError where one is not cached."""
        return Rows(self, np.array([self._places[key] for key in keys], np.int64).reshape(-1, 2))

    def add(self, rows: Iterable[tuple[bytes, Array]], expected: int, later_bytes: int = 0) -> None:
        """Append a segment. ``expected`` rows at most; the disk must have room for them, and for ``later_bytes``.

        Raises EnvironmentFault before anything is written where they would not fit.
        """
        make_cache(cache_root(), _ELSEWHERE)
        make_folder(self.folder, _ELSEWHERE)
        require_space(self.folder, expected * self.row_bytes + later_bytes)
        self._remove_abandoned()
        data = self.folder / f"{uuid.uuid4().hex}.rows"
        keys: list[bytes] = []
        try:
            with data.open("wb") as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # held until the index stands: see _remove_abandoned
                for key, row in rows:
                    file.write(np.ascontiguousarray(row, self.dtype).tobytes())
                    keys.append(key)
                if not keys:
                    data.unlink()
                    return
                file.flush()
                os.fsync(file.fileno())
                index = data.with_suffix(".keys")
                atomic_write(index, b"".join(keys))
        except BaseException:
            data.unlink(missing_ok=True)
            raise
        self._adopt(index)

    def _remove_abandoned(self) -> None:
        """Remove data without an index whose writer is gone: a killed build would leave it for ever."""
        for data in self.folder.glob("*.rows"):
            with contextlib.suppress(OSError), data.open("rb") as file:  # another process may remove it first
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not data.with_suffix(".keys").exists() and data.stat().st_size:
                    data.unlink()
