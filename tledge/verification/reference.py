"""This module reads the original's answers as the training device computed them.

They are mapped from disk, so memory does not grow with the number of photos.
"""

from __future__ import annotations

import shutil
import zipfile
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tledge.bench.answers import softmax
from tledge.datasets.run_photos import SplitPhotos
from tledge.errors import ArtifactError
from tledge.run import Run

Floats = npt.NDArray[np.floating]
REFERENCE = "reference.npz"
_BLOCK_VALUES = 1 << 20


def reference_logits(run: Run, photos: SplitPhotos, folder: Path) -> Floats:
    """Return the original's logits, float32 (N, C), in the order of ``photos``, as a memory map in ``folder``.

    Raises ArtifactError where the stored logits belong to other photos, or their shape or dtype does not fit the run.
    """
    path, remedy = run.folder / REFERENCE, "Build the run again."
    try:
        with np.load(path, allow_pickle=False) as stored:
            ids = tuple(np.asarray(stored["ids"]).tolist())  # what is no array is bytes
        unpacked = folder / "reference-logits.npy"
        with zipfile.ZipFile(path) as archive, archive.open("logits.npy") as packed, unpacked.open("wb") as file:
            shutil.copyfileobj(packed, file)
        logits: Floats = np.load(unpacked, mmap_mode="r", allow_pickle=False)
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ArtifactError(f"{path}: does not hold the original's answers ({error}). {remedy}") from error
    if ids != photos.ids:
        raise ArtifactError(f"{path}: its photos are not the test split's. {remedy}")
    if logits.shape != (len(photos.ids), len(run.manifest.labels)) or logits.dtype != np.float32:
        raise ArtifactError(f"{path}: logits {logits.dtype} {logits.shape} do not fit the run. {remedy}")
    return logits


def probabilities(logits: Floats, path: Path) -> Floats:
    """Compute the softmax of logits (N, C) into a file at ``path``, in blocks of rows.

    The result is a read-only memory map of that file, float64 (N, C).
    """
    height = max(1, _BLOCK_VALUES // logits.shape[1])
    with path.open("wb") as file:
        for start in range(0, len(logits), height):
            file.write(softmax(logits[start : start + height]).tobytes())
    return np.memmap(path, np.float64, "r", shape=logits.shape)
