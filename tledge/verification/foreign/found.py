"""A foreign file is one that another tool made, with what was found of its use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tledge.bench.photos import PhotosOnDisk
from tledge.records import ForeignRecord
from tledge.workers.adapter import Adapter


@dataclass(frozen=True)
class Foreign:
    """A foreign file has no export record: this stands in its place.

    Attributes:
        name: name of its rows, without the runtime.
        record: how it takes photos and answers them, and how that was found.
        adapters: the one that brings photos to it; empty where it does not run.
        problems: what makes it another classifier than the run's, such as another order of classes.
        photos: the test photos at its own input size; None where that is the run's.
        fault: why it does not run; None where it does.
    """

    name: str
    path: Path
    sha256: str
    size_bytes: int
    record: ForeignRecord
    adapters: tuple[Adapter, ...]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    photos: PhotosOnDisk | None
    fault: str | None
