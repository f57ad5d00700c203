"""Files reach the disk through this module: it has atomic writes, hashes and sealed JSON records."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import stat
import tempfile
import uuid
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tledge.errors import ArtifactError, EnvironmentFault
from tledge.locks import abandoned, held

SEAL = "record_sha256"
MAX_TABLE_BYTES = 2**20  # the largest TOML file of a person that is read
_LINE = 120  # characters of a record's line, without its margin
_MAX_RECORD_BYTES = 2**28  # a record of a million photos is smaller


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_file(path: Path, max_bytes: int) -> bytes:
    """Return the bytes of a regular file of at most ``max_bytes``.

    The kind of the file and its size are checked before it is read. Raises OSError, with the reason, where a check
    fails.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # reading a pipe or a device need not end
        raise OSError(errno.EINVAL, "no regular file", str(path))
    if status.st_size > max_bytes:
        raise OSError(errno.EFBIG, f"more than {_size(max_bytes)}", str(path))
    with path.open("rb") as file:
        data = file.read(status.st_size + 1)  # this much memory is set aside before the reading
    if len(data) > status.st_size:
        raise OSError(errno.EAGAIN, "it grew while it was read", str(path))
    return data


def _size(num_bytes: int) -> str:
    return f"{num_bytes >> 30} GiB" if num_bytes >= 1 << 30 else f"{num_bytes / (1 << 20):g} MiB"


def compressed_bytes(data: bytes) -> int:
    """Return how many bytes ``data`` takes in an archive as ``zip -9`` makes it: raw deflate by zlib at level 9."""
    compressor = zlib.compressobj(zlib.Z_BEST_COMPRESSION, zlib.DEFLATED, -zlib.MAX_WBITS)
    return len(compressor.compress(data)) + len(compressor.flush())


def make_folder(folder: Path, remedy: str) -> None:
    """Make a folder and those above it.

    Raises EnvironmentFault, whose message ends in ``remedy``, where it can't be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentFault(f"can't write {folder}: {error.strerror}. {remedy}") from error


def require_folder(folder: Path, remedy: str) -> None:
    """Raise EnvironmentFault, as :func:`make_folder` does, where a folder can't be made. No new folder stays."""
    with made_for_now(folder, remedy):
        pass


@contextlib.contextmanager
def made_for_now(folder: Path, remedy: str) -> Iterator[None]:
    """Make a folder and those above it, as :func:`make_folder` does, and remove the new ones at the end.

    Whatever looks through the folder above would see one that stays, as an empty class of a data set for example.
    """
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        make_folder(folder, remedy)
        yield
    finally:
        for one in missing:
            with contextlib.suppress(OSError):  # it could not be made, or another process has put something there
                one.rmdir()


def atomic_write(path: Path, data: bytes) -> None:
    """Write ``data`` so that a reader sees the old file or the new one, never a part.

    Precondition: the folder exists. The data is on the disk, not in a buffer, before the name appears.
    """
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_together(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files by their names into the existing ``folder``: all are on the disk before the first takes its place.

    A full disk thus leaves the earlier files as they were. Files take their places in the order given.
    """
    with working_folder(folder, ".writing-") as staged:
        for name, data in files.items():
            atomic_write(staged / name, data)
        for name in files:
            os.replace(staged / name, folder / name)
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Make renames inside ``folder`` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Flush every file and folder below ``folder`` to the disk."""
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            sync_folder(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_folder(folder)


def temporary_folder() -> contextlib.AbstractContextManager[Path]:
    """Give a new folder of this user alone among the system's temporary files, which is removed at the end."""
    return working_folder(Path(tempfile.gettempdir()), "tledge-", mode=0o700)


@contextlib.contextmanager
def working_folder(root: Path, prefix: str, mode: int = 0o777) -> Iterator[Path]:
    """Make a new folder ``prefix*`` in the existing ``root``, and remove it at the end unless it was renamed meanwhile.

    A killed process can't remove its own folder. Folders that no living process holds any more are therefore removed
    first.
    """
    for lock in abandoned(root, prefix):
        shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
    folder = root / f"{prefix}{uuid.uuid4().hex[:8]}"
    # The lock lies beside the folder. It is made before the folder and removed after it, so every folder has a lock.
    with held(folder.with_name(f"{folder.name}.lock")):
        try:
            folder.mkdir(mode)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _digest(record: dict[str, Any]) -> str:
    canonical = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def sealed(record: dict[str, Any]) -> bytes:
    """Encode a JSON record with the SHA-256 of its own content, so that a later change is seen."""
    with_seal = {**record, SEAL: _digest(record)}
    return _laid_out(with_seal).encode() + b"\n"


def _laid_out(value: Any, margin: str = "") -> str:
    """Return JSON in lines. What fits into one line stands on one, so that thousands of small parts take little room."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if len(text) <= _LINE or not isinstance(value, dict | list):
        return text
    inner = margin + "  "
    if isinstance(value, list):
        lines = [inner + _laid_out(part, inner) for part in value]
    else:
        lines = [
            f"{inner}{json.dumps(key, ensure_ascii=False)}: {_laid_out(part, inner)}" for key, part in value.items()
        ]
    return text[0] + "\n" + ",\n".join(lines) + "\n" + margin + text[-1]


def write_sealed(path: Path, record: dict[str, Any]) -> None:
    """Write a :func:`sealed` record atomically."""
    atomic_write(path, sealed(record))


def read_sealed(path: Path, remedy: str) -> dict[str, Any]:
    """Read a record that :func:`write_sealed` wrote.

    Raises ArtifactError, whose message ends in the sentence ``remedy``, for a file that is cut short or was changed
    since.
    """
    try:
        record: dict[str, Any] = json.loads(read_file(path, _MAX_RECORD_BYTES))
        is_sealed = isinstance(record, dict) and record.pop(SEAL, None) == _digest(record)
    except OSError as error:
        raise ArtifactError(f"{path}: can't be read ({error.strerror}). {remedy}") from error
    except (ValueError, RecursionError) as error:  # NaN and half a surrogate pair are seen by the digest
        raise ArtifactError(f"{path}: not a whole JSON record ({type(error).__name__}). {remedy}") from error
    if not is_sealed:
        raise ArtifactError(f"{path}: changed since tledge wrote it (its {SEAL} differs). {remedy}")
    return record
