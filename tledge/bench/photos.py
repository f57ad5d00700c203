"""This module writes photos to disk for the workers that read them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.progress import Progress
from tledge.room import require_space


@dataclass(frozen=True)
class PhotosOnDisk:
    """The photos are a raw file of uint8 rows (N, S, S, 3), where S is ``input_size``."""

    path: Path
    num_photos: int
    input_size: int


def lay_out(
    path: Path, batches: Iterable[npt.NDArray[Any]], at_most: int, input_size: int, progress: Progress, step: str
) -> PhotosOnDisk:
    """Write batches of prepared photos, uint8 (n, S, S, 3), one after another, into a new file.

    Room for ``at_most`` photos is asked for before the first is written. Raises EnvironmentFault where the disk has no
    room for them.
    """
    require_space(path.parent, at_most * input_size**2 * 3)
    num_photos = 0
    with path.open("wb") as file, progress.step(step, at_most) as advance:
        for batch in batches:
            file.write(np.ascontiguousarray(batch).tobytes())
            num_photos += len(batch)
            advance(len(batch))
    return PhotosOnDisk(path, num_photos, input_size)
