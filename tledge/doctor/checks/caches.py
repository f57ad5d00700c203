"""This check tells how large the caches are, of tledge and of the libraries that download for it."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tledge.cache import cache_root
from tledge.doctor.finding import Check, Finding
from tledge.errors import TledgeError

_LONGEST_S = 2.0  # a folder of a million files takes minutes to add up


def _find(artifacts: Path) -> Iterator[Finding]:
    yield _measured("cache of tledge", cache_root)
    yield _measured(
        "cache of TensorFlow Hub", lambda: _named("TFHUB_CACHE_DIR", Path(tempfile.gettempdir(), "tfhub_modules"))
    )
    yield _measured("TensorFlow Datasets", lambda: _named("TFDS_DATA_DIR", Path("~/tensorflow_datasets")))
    yield _measured("weights of Keras", lambda: Path("~/.keras/models").expanduser())


def _named(variable: str, otherwise: Path) -> Path:
    return Path(os.environ.get(variable) or otherwise).expanduser()


def _measured(name: str, place: Callable[[], Path]) -> Finding:
    try:
        folder = place()
    except (OSError, RuntimeError, TledgeError) as error:  # there is no home, or no temporary folder
        return Finding(name, f"no folder: {error}")
    if not folder.is_dir():
        return Finding(name, f"{folder}: none yet")
    num_bytes, is_whole = _size(folder)
    return Finding(name, f"{folder}: {'' if is_whole else 'more than '}{num_bytes / 1e6:,.1f} MB")


def _size(folder: Path) -> tuple[int, bool]:
    """Add up the files below a folder, and return whether there was time for all."""
    end, total = time.monotonic() + _LONGEST_S, 0
    for parent, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size  # noqa: PTH118 - for many files at once
            except OSError:  # it was removed meanwhile
                continue
        if time.monotonic() > end:
            return total, False
    return total, True


CHECK = Check(order=80, find=_find)
