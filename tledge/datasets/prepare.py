"""A source becomes a Dataset: every photo is decoded once, its pixels are cached, and its split is fixed."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tledge.ahead import ahead
from tledge.cache import Array, CachedRows, RowCache
from tledge.datasets.caches import (
    CachedPhoto,
    Part,
    content_key,
    digest_cache,
    fingerprint_cache,
    made,
    pixel_cache,
    remedy,
)
from tledge.datasets.photo_source import Photo, Relabelled, Source
from tledge.datasets.spec import meant_instead
from tledge.datasets.splits import (
    Assignment,
    Conflicts,
    NearCopies,
    assign,
    split_digest,
    without_conflicts,
    without_near_copies,
)
from tledge.datasets.unreadable import SkippedPhotos
from tledge.errors import InputError
from tledge.files import atomic_write
from tledge.near_copies import Fingerprints
from tledge.preprocessing import AS_BUILDS_DO, Preparation, UnreadableImage
from tledge.printable import few
from tledge.progress import Progress
from tledge.records import SPLITS, DatasetRecord, SkippedPhoto, SplitName, SplitRecord
from tledge.resizing import SQUEEZE, Resize

SPLITS_FILE = "splits.csv"
FINGERPRINTS_FILE = "fingerprints.npy"


@dataclass(frozen=True)
class Dataset:
    """A ``Dataset`` is a data set with cached pixels. Row i of every column is one photo, in the source's order."""

    source: Source
    input_size: int
    preparation: Preparation
    ids: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    content_sha256: tuple[bytes, ...]
    pixels: CachedRows
    fingerprints: Fingerprints
    splits: Assignment
    conflicts: Conflicts
    near_copies: NearCopies
    skipped: tuple[SkippedPhoto, ...]

    def relabelled(self, labels: Sequence[str]) -> Dataset:
        """Return the same data with its labels in another order. ``labels`` are the source's own, each once."""
        number = {label: at for at, label in enumerate(labels)}
        to_new = np.array([number[label] for label in self.source.labels], np.int64)
        return replace(self, source=Relabelled(self.source, tuple(labels)), labels=to_new[self.labels])

    def pixels_key(self, row: int) -> bytes:
        """Return 32 bytes that name what a photo's pixels were made from: its content, and range and resize if given."""
        content, (pixel_range, _, resize) = self.content_sha256[row], self.preparation
        given = [str(one) for one in (pixel_range, None if resize == SQUEEZE else resize) if one is not None]
        return hashlib.sha256(f"{' '.join(given)} ".encode() + content).digest() if given else content

    def record(self) -> DatasetRecord:
        """Return what the manifest says of the data."""
        lines = [
            f"{key.hex()} {self.source.labels[label]}"
            for key, label in zip(self.content_sha256, self.labels, strict=True)
        ]
        return DatasetRecord(
            spec=self.source.spec,
            name=self.source.name,
            fingerprint_sha256=hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest(),
            num_photos=len(self.ids),
            skipped=list(self.skipped),
            duplicates_dropped=len(self.splits.dropped),
            moved_into_training=[self.ids[row] for row in self.splits.moved],
            near_copies_dropped=list(self.near_copies.dropped),
            near_copies_kept=self.near_copies.num_kept,
            conflicting_labels=len(self.conflicts.pictures),
            conflicting_photos=[list(ids) for ids in self.conflicts.pictures],
            conflicts_left_out=list(self.conflicts.left_out),
        )

    def split_records(self) -> dict[SplitName, SplitRecord]:
        """Return the size, the class counts and the hash of every split."""
        records: dict[SplitName, SplitRecord] = {}
        for name, rows in self.splits.rows.items():
            names = [self.source.labels[label] for label in self.labels[rows]]
            counts = np.bincount(self.labels[rows], minlength=len(self.source.labels)).tolist()
            records[name] = SplitRecord(
                num_photos=len(rows),
                class_counts=dict(zip(self.source.labels, counts, strict=True)),
                sha256=split_digest([self.content_sha256[row] for row in rows], names),
            )
        return records

    def write_splits(self, folder: Path) -> None:
        """Write splits.csv and fingerprints.npy into a folder.

        splits.csv says which photo is in which split, so that later stages find the very same photos. fingerprints.npy,
        uint8 (N, 256) in the order of the lines of splits.csv, serves to find near copies of the photos.
        """
        out = io.StringIO()
        table = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)  # a name may hold a line end
        table.writerow(["split", "label", "content_sha256", "id"])
        for name in SPLITS:
            for row in self.splits.rows[name]:
                table.writerow([name, self.labels[row], self.content_sha256[row].hex(), self.ids[row]])
        atomic_write(folder / SPLITS_FILE, out.getvalue().encode())
        rows = np.concatenate([self.splits.rows[name] for name in SPLITS])
        with (folder / FINGERPRINTS_FILE).open("wb") as file:
            np.save(file, self.fingerprints[rows], allow_pickle=False)


def uncached_bytes(source: Source, input_size: int, preparation: Preparation) -> int:
    """Estimate the bytes that the pixels of a source's uncached photos will take on the cache's disk."""
    cache = pixel_cache(input_size, preparation)
    return _num_new(source, cache) * cache.row_bytes


def _num_new(source: Source, cache: RowCache) -> int:
    # Which photos are new is unknown before each was hashed. If no photo occurs twice, at least this many are new.
    return max(0, source.num_photos - len(cache))


def prepare_dataset(
    source: Source,
    input_size: int,
    seed: int,
    progress: Progress,
    preparation: Preparation = AS_BUILDS_DO,
) -> Dataset:
    """Read a source once: decode what is not cached, split, and check that a classifier can be trained on it.

    A smaller share of unreadable photos is warned of and recorded.

    Args:
        source: the labelled photos.
        input_size: side of the model's input, in pixels.
        seed: seed of the split.
        progress: what is told of steps and warnings.
        preparation: how photos become pixels.

    Raises:
        InputError: There are no photos, fewer than two classes, a class with fewer than two photos, a class without a
            training photo, an empty split, over 5% unreadable photos, or 16-bit photos of an unknown range.
        EnvironmentFault: The disk has no room for the pixels of the new photos. This is checked before any is read.
    """
    require_classes(source)
    for note in source.notes:
        progress.say(note)
    for warning in source.warnings:
        progress.warn(warning)
    ids, labels, keys, source_splits, unreadable = ingest(source, input_size, preparation, progress)
    if found := unreadable.warning(len(ids)):
        progress.warn(found)
    label_array = np.array(labels, np.int64)
    _require_photos(source, np.bincount(label_array, minlength=len(source.labels)).tolist())

    def kept(cache: Callable[[int, Preparation], RowCache], part: Part) -> CachedRows:
        again = remedy(lambda: source, input_size, preparation, part, dict(zip(keys, ids, strict=True)), progress)
        return cache(input_size, preparation).rows(keys, again)

    digests = [row.tobytes() for row in kept(digest_cache, "digest")[:]]
    splits = assign(digests, label_array, source_splits, seed)
    splits, conflicts = without_conflicts(splits, digests, label_array, ids)
    fingerprints = np.asarray(kept(fingerprint_cache, "fingerprint")[:], np.uint8)
    splits, copies = without_near_copies(splits, fingerprints, label_array, ids)
    label_of = {photo_id: source.labels[label] for photo_id, label in zip(ids, labels, strict=True)}
    for warning in (*conflicts.warnings(label_of), *copies.warnings()):
        progress.warn(warning)
    _check_split_classes(source, label_array, splits, source_splits, progress)
    return Dataset(
        source=source,
        input_size=input_size,
        preparation=preparation,
        ids=tuple(ids),
        labels=label_array,
        content_sha256=tuple(keys),
        pixels=kept(pixel_cache, "pixels"),
        fingerprints=fingerprints,
        splits=splits,
        conflicts=conflicts,
        near_copies=copies,
        skipped=tuple(unreadable.skipped),
    )


def ingest(
    source: Source,
    input_size: int,
    preparation: Preparation,
    progress: Progress,
    wanted: Mapping[bytes, str] | None = None,
) -> tuple[list[str], list[int], list[bytes], list[SplitName | None], SkippedPhotos]:
    """Read a source into the caches. With ``wanted``, the ids of photos by their keys, only those are decoded."""
    caches = [cache(input_size, preparation, progress) for cache in (pixel_cache, digest_cache, fingerprint_cache)]
    cached_pixels, *small_caches = caches
    ids: list[str] = []
    labels: list[int] = []
    keys: list[bytes] = []
    source_splits: list[SplitName | None] = []
    unreadable = SkippedPhotos(source.spec)
    small: dict[bytes, tuple[Array, Array]] = {}  # digest and fingerprint

    def new_pixels() -> Iterator[tuple[bytes, Array]]:
        written: set[bytes] = set()
        for photo in _decoded(source, caches, input_size, preparation, wanted):
            advance(1)
            if isinstance(photo.outcome, UnreadableImage):
                unreadable.add(photo.id, photo.outcome)
                continue
            ids.append(photo.id)
            labels.append(photo.label)
            keys.append(photo.key)
            source_splits.append(photo.source_split)
            if photo.outcome is not None:
                small[photo.key] = photo.outcome.digest, photo.outcome.fingerprint
                if photo.key not in cached_pixels and photo.key not in written:
                    written.add(photo.key)
                    yield photo.key, photo.outcome.pixels

    with progress.step(f"reading {source.name}", source.num_photos) as advance:
        num_new = _num_new(source, cached_pixels) if wanted is None else sum(key not in cached_pixels for key in wanted)
        cached_pixels.add(new_pixels(), num_new)
    for number, cache in enumerate(small_caches):
        cache.add(((key, parts[number]) for key, parts in small.items() if key not in cache), len(small))
    return ids, labels, keys, source_splits, unreadable


def resized_pixels(
    data: Dataset, resize: Resize, splits: Sequence[SplitName], progress: Progress
) -> dict[SplitName, CachedRows]:
    """Return the pixels of some splits, resized otherwise than those of the data. Photos that are not cached so are read now."""
    preparation = data.preparation._replace(resize=resize)
    keys = {split: [data.content_sha256[row] for row in data.splits.rows[split]] for split in splits}
    named = dict(zip(data.content_sha256, data.ids, strict=True))
    wanted = {key: named[key] for of_split in keys.values() for key in of_split}
    cache = pixel_cache(data.input_size, preparation, progress)
    if any(key not in cache for key in wanted):
        ingest(data.source, data.input_size, preparation, progress, wanted)
        cache = pixel_cache(data.input_size, preparation, progress)
    again = remedy(lambda: data.source, data.input_size, preparation, "pixels", wanted, progress)
    return {split: cache.rows(of_split, again) for split, of_split in keys.items()}


class _Read(NamedTuple):
    """A photo that was read is held without its data. ``outcome`` is what it became, or None where all is cached."""

    id: str
    label: int
    source_split: SplitName | None
    key: bytes
    outcome: CachedPhoto | UnreadableImage | None


def _decoded(
    source: Source,
    caches: Sequence[RowCache],
    input_size: int,
    preparation: Preparation,
    wanted: Mapping[bytes, str] | None,
) -> Iterator[_Read]:
    """Yield every photo of a source in order, decoded where a cache lacks it."""
    wanted_ids = frozenset(wanted.values()) if wanted is not None else frozenset()

    def attempt(photo: Photo, key: bytes) -> CachedPhoto | UnreadableImage | None:
        if all(key in cache for cache in caches):
            return None
        if wanted is not None and key not in wanted and photo.id not in wanted_ids:
            return None  # a photo of that name that differs is read, as it may be damaged, which is then told
        try:
            return made(photo, input_size, preparation)
        except UnreadableImage as error:
            return error

    def work(item: tuple[Photo, bytes]) -> _Read:
        photo, key = item
        return _Read(photo.id, photo.label, photo.source_split, key, attempt(photo, key))

    return ahead(work, _with_keys(source.photos()), lambda item: item[0].num_bytes)


def _with_keys(photos: Iterator[Photo]) -> Iterator[tuple[Photo, bytes]]:
    for photo in photos:
        yield photo, content_key(photo)
        del photo  # it may be large, and so may be the next


def require_classes(source: Source) -> None:
    """Raise InputError where no classifier can be trained on a source, as far as that is known before a photo is read."""
    if len(source.labels) < 2:
        raise InputError(
            f"data set {source.spec}: one class ({', '.join(source.labels)}), and a classifier needs at least two."
            f"{meant_instead(source) or ' Give a folder that holds one folder for each class.'}"
        )
    if source.class_counts is not None:
        _require_photos(source, source.class_counts)


def _require_photos(source: Source, counts: Sequence[int]) -> None:
    """Raise InputError for a class with fewer than two photos. ``counts`` has the number of photos of each class."""
    if not sum(counts):
        raise InputError(f"data set {source.spec}: no photos in it.{meant_instead(source)}")
    poor = [f"{name} ({count})" for name, count in zip(source.labels, counts, strict=True) if count < 2]
    if poor:
        raise InputError(
            f"data set {source.spec}: a class needs at least two photos, and these have fewer: {few(poor, ', ')}."
            f"{meant_instead(source)} Add photos, or leave out the class."
        )


def _check_split_classes(
    source: Source,
    labels: npt.NDArray[np.int64],
    splits: Assignment,
    source_splits: Sequence[SplitName | None],
    progress: Progress,
) -> None:
    if len(splits.moved):
        classes = dict.fromkeys(source.labels[label] for label in labels[splits.moved])
        progress.warn(
            f"no photo of {few(list(classes), ', ')} fell into training: the one with the lowest hash was moved there"
        )
    for split, rows in splits.rows.items():
        counts = np.bincount(labels[rows], minlength=len(source.labels))
        absent = [number for number, count in enumerate(counts) if count == 0]
        names = few([source.labels[number] for number in absent], ", ")
        if absent and split == "train":
            is_learned = "the class can't be learned" if len(absent) == 1 else "these classes can't be learned"
            raise InputError(
                f"data set {source.spec}: no training photo of {names}: {is_learned}. {_way_out(absent, labels, source_splits)}"
            )
        if absent:
            are = "it is" if len(absent) == 1 else "they are"
            progress.warn(f"no {split} photo of {names}: how well {are} recognised is not measured there")
    if len(splits.dropped):
        copies = "1 copy of a picture" if len(splits.dropped) == 1 else f"{len(splits.dropped):,} copies of pictures"
        progress.warn(f"left out {copies} that the source holds out for a later split")


def _way_out(absent: Sequence[int], labels: npt.NDArray[np.int64], source_splits: Sequence[SplitName | None]) -> str:
    """Say how classes get training photos. Another seed helps only where tledge itself chose the split of their photos."""
    is_cut = {int(label) for label, split in zip(labels, source_splits, strict=True) if split in (None, "train")}
    if is_cut.issuperset(absent):
        return (
            "Add photos of it, or choose another --seed."
            if len(absent) == 1
            else "Add photos, or choose another --seed."
        )
    of_them = "it" if len(absent) == 1 else "them"
    return f"Put photos of {of_them} into the training split, or remove {of_them} from the other splits."
