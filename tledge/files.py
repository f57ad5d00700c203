"""Atomic writes, hashes and sealed JSON records: how anything reaches the disk."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from tledge.errors import ArtifactError

SEAL = "record_sha256"


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def atomic_write(path: Path, data: bytes) -> None:
    """Write ``data`` so that a reader sees the old file or the new one, never a part.

    Precondition: the folder exists. The data is on the disk, not in a buffer, before the name appears.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)  # mkstemp makes it private; other tools read our outputs
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


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


def _digest(record: dict[str, Any]) -> str:
    canonical = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def write_sealed(path: Path, record: dict[str, Any]) -> None:
    """Write a JSON record with the SHA-256 of its own content, so that a later change is seen."""
    sealed = {**record, SEAL: _digest(record)}
    atomic_write(path, json.dumps(sealed, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n")


def read_sealed(path: Path, remedy: str) -> dict[str, Any]:
    """Read what :func:`write_sealed` wrote.

    Raises ArtifactError, ending in ``remedy``, for a file that is cut short or was changed since.
    """
    try:
        record = json.loads(path.read_bytes())
    except (ValueError, OSError, RecursionError) as error:
        raise ArtifactError(f"{path}: not a whole JSON record ({type(error).__name__}); {remedy}") from error
    if not isinstance(record, dict) or record.pop(SEAL, None) != _digest(record):
        raise ArtifactError(f"{path}: changed since tledge wrote it (its {SEAL} differs); {remedy}")
    return record
