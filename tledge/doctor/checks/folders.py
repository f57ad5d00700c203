"""This check tries the folders that tledge writes to: whether a file, a lock and some space can be had there."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from tledge.cache import cache_root
from tledge.doctor.finding import Check, Finding
from tledge.errors import TledgeError
from tledge.files import atomic_write, made_for_now
from tledge.locks import held
from tledge.room import free_space

_LEAST_BYTES = 200_000_000  # a small run with its artifacts and its caches
_WRITABLE = "Set {} to a folder that can be written and locked, on a disk of this machine."
_ROOMY = "Free some space, or set {} to a folder on a larger disk."


def _find(artifacts: Path) -> Iterator[Finding]:
    yield _tried("folder of runs", lambda: artifacts, "--artifacts")
    yield _tried("folder of caches", cache_root, "TLEDGE_CACHE_DIR")
    yield _tried("temporary files", lambda: Path(tempfile.gettempdir()), "TMPDIR")


def _tried(name: str, place: Callable[[], Path], setting: str) -> Finding:
    """Write, move and lock a file in a folder, and leave nothing behind."""
    shown = "no folder"
    try:
        folder = place()
        shown = str(folder)
        with made_for_now(folder, _WRITABLE.format(setting)):
            free, system = free_space(folder), _file_system(folder)
            probe = folder / f".tledge-doctor-{uuid.uuid4().hex[:8]}"
            try:
                with held(probe.with_name(f"{probe.name}.lock")):
                    atomic_write(probe, b"tledge doctor")
            finally:
                probe.unlink(missing_ok=True)
    except TledgeError as error:
        return Finding(name, shown, str(error))
    except (OSError, RuntimeError) as error:
        said = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        return Finding(name, shown, f"it can't be used: {said}", _WRITABLE.format(setting))
    value = f"{shown}: {free / 1e9:.1f} GB free{f' on {system}' if system else ''}, can be written and locked"
    if free < _LEAST_BYTES:
        return Finding(name, value, f"a small run needs {_LEAST_BYTES / 1e6:.0f} MB", _ROOMY.format(setting))
    return Finding(name, value)


def _file_system(folder: Path) -> str:
    """Return the type of the file system, such as ext4 or nfs; empty where the system does not tell."""
    try:
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError:
        return ""
    here = folder.resolve()
    around = [(len(fields[1]), number, fields[2]) for number, fields in enumerate(mounts) if _is_in(here, fields[1])]
    return max(around)[2] if around else ""


def _is_in(folder: Path, mounted: str) -> bool:
    return folder.is_relative_to(mounted.replace("\\040", " "))


CHECK = Check(order=70, find=_find)
