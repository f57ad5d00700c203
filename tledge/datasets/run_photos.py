"""The photos of a run are found again by their content, in the pixel cache or in the data set that holds them now."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tledge.cache import CachedRows, RowCache
from tledge.datasets.caches import pixel_cache, remedy
from tledge.datasets.photo_source import Source
from tledge.datasets.prepare import SPLITS_FILE, ingest
from tledge.datasets.spec import open_moved, open_source
from tledge.datasets.splits import split_digest
from tledge.errors import ArtifactError, EnvironmentFault, InputError, TledgeError
from tledge.preprocessing import as_recorded
from tledge.printable import counted, few, sentence
from tledge.progress import Progress
from tledge.records import SplitName
from tledge.run import MANIFEST, Run


class Member(NamedTuple):
    """A member is a photo of a split, without its pixels."""

    id: str
    content_sha256: bytes
    label: int


@dataclass(frozen=True)
class SplitPhotos:
    """These are the photos of one split of a run. ``pixels`` is uint8 (N, S, S, 3), ``labels`` int64 (N,)."""

    ids: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    content_sha256: tuple[bytes, ...]
    pixels: CachedRows


def members(run: Run, split: SplitName) -> list[Member]:
    """Return the photos of a split of a run, in the order of splits.csv, without their pixels.

    Raises ArtifactError where they are not the photos that the manifest tells of.
    """
    path, labels, recorded = run.folder / SPLITS_FILE, run.manifest.labels, run.manifest.splits[split]
    try:
        with path.open(newline="", encoding="utf-8") as file:
            found = [
                Member(entry["id"], bytes.fromhex(entry["content_sha256"]), int(entry["label"]))
                for entry in csv.DictReader(file)
                if entry["split"] == split
            ]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:  # UnicodeDecodeError is a ValueError
        reason = f"{type(error).__name__}: {error}"
        raise ArtifactError(f"{path}: no list of the run's photos ({reason}). Build the run again.") from error
    is_known = all(0 <= one.label < len(labels) for one in found)
    if not is_known or recorded.sha256 != split_digest(
        [one.content_sha256 for one in found], [labels[one.label] for one in found]
    ):
        raise ArtifactError(f"{path}: its {split} photos are not those of {MANIFEST}. Build the run again.")
    return found


def load_split(run: Run, split: SplitName, progress: Progress, side: int | None = None) -> SplitPhotos:
    """Return the photos of one split of a run, found by their content.

    They come from the pixel cache. Where it lacks some, or holds damaged ones, the data set is read again, or what
    ``run.moved_to`` names. Their size is that of the run's input, or ``side`` where it is given.

    Raises InputError where photos of the split are no longer in the data set. Reading a damaged photo that can't be made
    again raises EnvironmentFault.
    """
    photos, size = members(run, split), side or run.manifest.backbone.input_size
    preparation = as_recorded(run.manifest.preprocessing)
    ids, keys = tuple(photo.id for photo in photos), tuple(photo.content_sha256 for photo in photos)
    cache = pixel_cache(size, preparation, progress)
    names = dict(zip(keys, ids, strict=True))
    if any(key not in cache for key in keys):
        cache = _read_again(run, names, size, progress)
    labels = np.array([photo.label for photo in photos], np.int64)
    again = remedy(lambda: _source_of(run), size, preparation, "pixels", names, progress)
    return SplitPhotos(ids, labels, keys, cache.rows(keys, again))


def _source_of(run: Run) -> Source:
    return open_source(run.manifest.dataset.spec) if run.moved_to is None else open_moved(run.moved_to)


def _read_again(run: Run, names: Mapping[bytes, str], size: int, progress: Progress) -> RowCache:
    preparation = as_recorded(run.manifest.preprocessing)
    elsewhere = "name the folder or data set that holds them now with --dataset, or build again"
    try:
        source = _source_of(run)
    except TledgeError as error:
        kind = InputError if isinstance(error, InputError) else EnvironmentFault
        raise kind(
            f"the photos of run {run.name} are needed: {sentence(str(error))} Restore them, {elsewhere}."
        ) from error
    *_, unreadable = ingest(source, size, preparation, progress, names)
    cache = pixel_cache(size, preparation)
    missing = [photo_id for key, photo_id in names.items() if key not in cache]
    if missing:
        reasons = {photo.id: photo.reason for photo in unreadable.skipped}
        shown = few([f"{one} ({reasons[one]})" if one in reasons else one for one in missing], ", ")
        changed = (
            f"changed since run {run.name} was built" if run.moved_to is None else f"lacks photos of run {run.name}"
        )
        gone = f"{len(missing):,} of {counted(len(names), 'photo')} {'is' if len(missing) == 1 else 'are'}"
        raise InputError(
            f"data set {source.spec} {changed}: {gone} missing, changed or unreadable ({shown}). Restore them, {elsewhere}."
        )
    return cache
