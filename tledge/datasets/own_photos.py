"""The photos of a run's splits are recognised in other data by their content and by their fingerprints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tledge import near_copies
from tledge.datasets.prepare import FINGERPRINTS_FILE
from tledge.datasets.run_photos import Member, load_split, members
from tledge.errors import ArtifactError, TledgeError
from tledge.near_copies import Fingerprints
from tledge.progress import Progress
from tledge.records import SPLITS, SplitName
from tledge.run import Run

_BATCH = 64


@dataclass(frozen=True)
class OwnPhotos:
    """The photos of a run are held by split, with their fingerprints in the same order, uint8 (N, 256).

    ``problem`` says why there are no fingerprints. It is None where there are.
    """

    members: Mapping[SplitName, list[Member]]
    fingerprints: Mapping[SplitName, Fingerprints]
    problem: str | None = None


def own_photos(run: Run, progress: Progress) -> OwnPhotos:
    """Return the photos of a run and their fingerprints.

    A run of an earlier tledge holds no fingerprints. They are made from the pixel cache, or from its data set. Where
    neither has the photos, there are none. Raises ArtifactError where the run's fingerprints are not of its photos.
    """
    found = {split: members(run, split) for split in SPLITS}
    if FINGERPRINTS_FILE in run.manifest.files_sha256:
        return OwnPhotos(found, _stored(run, found))
    try:
        return OwnPhotos(found, {split: fingerprints_of(run, split, progress) for split in SPLITS})
    except TledgeError as error:
        none = np.empty((0, near_copies.LENGTH), np.uint8)
        problem = (
            f"run {run.name} holds no fingerprints of its photos, and they can't be made ({error}): photos of it that were "
            "encoded or resized again are not known. A run that is built again has them."
        )
        return OwnPhotos(found, dict.fromkeys(SPLITS, none), problem)


def fingerprints_of(run: Run, split: SplitName, progress: Progress) -> Fingerprints:
    """Return the fingerprints of one split, uint8 (N, 256), in the order of splits.csv.

    They are read from the run, or made from its pixels where it holds none. Raises what :func:`load_split` does, and
    ArtifactError where the run's fingerprints are not of its photos.
    """
    if FINGERPRINTS_FILE in run.manifest.files_sha256:
        return _stored(run, {name: members(run, name) for name in SPLITS})[split]
    pixels = load_split(run, split, progress).pixels
    made = [near_copies.fingerprint(np.asarray(photo, np.uint8)) for batch in pixels.batches(_BATCH) for photo in batch]
    return np.array(made, np.uint8).reshape(-1, near_copies.LENGTH)


def _stored(run: Run, found: Mapping[SplitName, list[Member]]) -> dict[SplitName, Fingerprints]:
    path = run.folder / FINGERPRINTS_FILE
    ends = np.cumsum([len(found[split]) for split in SPLITS])
    try:
        values = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ArtifactError(f"{path}: no array ({type(error).__name__}). Build the run again.") from error
    if values.dtype != np.uint8 or values.shape != (ends[-1], near_copies.LENGTH):
        raise ArtifactError(f"{path}: {values.dtype} {values.shape} are not of its photos. Build the run again.")
    return dict(zip(SPLITS, np.split(values, ends[:-1]), strict=True))
