"""This module writes features to .parquet, .npy (with a JSON beside it) or .npz: in blocks, whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tledge.errors import InputError, unknown
from tledge.files import sha256_file, sync_folder, sync_tree, working_folder
from tledge.inference.labelled import Entry
from tledge.locks import reserved
from tledge.records import Record

METADATA = "tledge"  # The record has this key in a file's metadata, as in ONNX.
Floats = npt.NDArray[np.float32]


class FeaturesFile(Protocol):
    """A features file is being written: call :meth:`add` any number of times, then :meth:`finish`."""

    def add(self, photos: Sequence[Entry], vectors: Floats) -> None:
        """Append photos and their vectors, float32 (n, dim)."""

    def finish(self, record: Record) -> None:
        """Write ``record`` into the file, and close it."""


class _Parquet:
    """A Parquet file has the columns id, label, content_sha256 (hex) and vector, a list of fixed size.

    Each block becomes a row group.
    """

    def __init__(self, path: Path, dim: int) -> None:
        import pyarrow
        from pyarrow.parquet import ParquetWriter

        self._dim, text = dim, pyarrow.string()
        vector = pyarrow.list_(pyarrow.float32(), dim)
        self._schema = pyarrow.schema([("id", text), ("label", text), ("content_sha256", text), ("vector", vector)])
        self._writer = ParquetWriter(path, self._schema)

    def add(self, photos: Sequence[Entry], vectors: Floats) -> None:
        import pyarrow

        values = pyarrow.array(vectors.reshape(-1))
        columns = [
            pyarrow.array([photo.id for photo in photos]),
            pyarrow.array([photo.label for photo in photos]),
            pyarrow.array([photo.key.hex() for photo in photos]),
            pyarrow.FixedSizeListArray.from_arrays(values, self._dim),
        ]
        self._writer.write_batch(pyarrow.record_batch(columns, schema=self._schema))

    def finish(self, record: Record) -> None:
        self._writer.add_key_value_metadata({METADATA: json.dumps(record.as_json())})
        self._writer.close()


class _Npy:
    """An .npy file holds vectors, float32 (N, dim). A JSON of the same stem holds ids, labels, hashes and the record."""

    def __init__(self, path: Path, dim: int) -> None:
        self._path, self._dim = path, dim
        self.photos: list[Entry] = []
        path.touch()
        self.write_header()

    def write_header(self) -> None:
        """Write the header for the rows so far. NumPy leaves room in it for any number of rows."""
        header = {"descr": "<f4", "fortran_order": False, "shape": (len(self.photos), self._dim)}
        with self._path.open("r+b") as file:
            np.lib.format.write_array_header_1_0(file, header)

    def add(self, photos: Sequence[Entry], vectors: Floats) -> None:
        with self._path.open("ab") as file:
            file.write(np.ascontiguousarray(vectors, "<f4").data)
        self.photos += photos

    def finish(self, record: Record) -> None:
        self.write_header()
        beside = {
            METADATA: record.as_json(),
            "npy_sha256": sha256_file(self._path),
            "ids": [photo.id for photo in self.photos],
            "labels": [photo.label for photo in self.photos],
            "content_sha256": [photo.key.hex() for photo in self.photos],
        }
        text = json.dumps(beside, indent=2, ensure_ascii=False)
        self._path.with_suffix(".json").write_text(text + "\n", encoding="utf-8")


class _Npz:
    """An .npz file holds vectors, float32 (N, dim), ids, labels and content_sha256, text (N,), and the record.

    The record is the array ``tledge``, a JSON text.
    """

    def __init__(self, path: Path, dim: int) -> None:
        self._path, self._vectors = path, path.with_suffix(".npy")
        self._npy = _Npy(self._vectors, dim)

    def add(self, photos: Sequence[Entry], vectors: Floats) -> None:
        self._npy.add(photos, vectors)

    def finish(self, record: Record) -> None:
        self._npy.write_header()
        photos = self._npy.photos
        columns: dict[str, Any] = {
            "ids": [photo.id for photo in photos],
            "labels": [photo.label for photo in photos],
            "content_sha256": [photo.key.hex() for photo in photos],
            METADATA: json.dumps(record.as_json()),
        }
        with self._path.open("wb") as file:
            np.savez(file, **columns)
        with zipfile.ZipFile(self._path, "a") as archive:
            archive.write(self._vectors, "vectors.npy")
        self._vectors.unlink()


_KINDS: dict[str, type[_Parquet] | type[_Npy] | type[_Npz]] = {".parquet": _Parquet, ".npy": _Npy, ".npz": _Npz}


@contextlib.contextmanager
def reserved_out(out: Path) -> Iterator[None]:
    """Keep other processes from writing features to ``out``.

    Raises InputError for a file of an unknown kind or in no folder, for one that is there already, and for one that
    another process is writing.
    """
    if out.suffix not in _KINDS:
        raise unknown("kind of file", out.suffix, _KINDS, f"It is the end of --out {out}.")
    if not out.parent.is_dir():
        raise InputError(f"--out {out}: there is no folder {out.parent}. Make it first.")
    name = hashlib.sha256(out.name.encode()).hexdigest()[:16]  # A file system has room for a name of this length.
    with reserved(out.parent, name, f"writing --out {out}. Choose another name, or wait for its end."):
        for path in (out, out.with_suffix(".json")) if out.suffix == ".npy" else (out,):
            if path.exists():
                raise InputError(f"--out {out}: {path} is there already. Remove it, or choose another name.")
        yield


@contextlib.contextmanager
def features_file(out: Path, dim: int) -> Iterator[FeaturesFile]:
    """Open a file of vectors of ``dim`` numbers, in the format of the suffix of ``out``.

    The file takes its place when the block ends without an error. For .npy and .npz, the ids and labels of all photos
    are held in memory. The vectors never are.
    """
    with working_folder(out.parent, ".embedding-") as folder:
        yield _KINDS[out.suffix](folder / out.name, dim)
        sync_tree(folder)
        for path in sorted(folder.iterdir()):
            os.replace(path, out.parent / path.name)
    sync_folder(out.parent)
