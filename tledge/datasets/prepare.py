"""A source becomes a Dataset: every photo decoded once, its pixels cached, its split fixed."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tledge import preprocessing
from tledge.ahead import ahead
from tledge.cache import Array, RowCache, Rows
from tledge.datasets import Photo, Source, open_source
from tledge.datasets.splits import Assignment, assign, split_digest
from tledge.datasets.unreadable import Unreadable
from tledge.errors import InputError
from tledge.files import atomic_write
from tledge.pixel_range import PixelRange
from tledge.preprocessing import UnreadableImage
from tledge.progress import Progress
from tledge.records import SPLITS, DatasetRecord, Manifest, SkippedPhoto, SplitName, SplitRecord
from tledge.run import Run

SPLITS_FILE = "splits.csv"


@dataclass(frozen=True)
class Dataset:
    """A data set whose pixels are cached. Row i of every column is one photo, in the source's order."""

    source: Source
    input_size: int
    pixel_range: PixelRange | None
    ids: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    content_sha256: tuple[bytes, ...]
    pixels: Rows
    splits: Assignment
    skipped: tuple[SkippedPhoto, ...]

    def pixels_key(self, row: int) -> bytes:
        """32 bytes that name what a photo's pixels were made from: its content, and the range where one was said."""
        content = self.content_sha256[row]
        return (
            content if self.pixel_range is None else hashlib.sha256(f"{self.pixel_range} ".encode() + content).digest()
        )

    def record(self) -> DatasetRecord:
        """What the manifest says of the data."""
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
            conflicting_labels=self.splits.conflicting_labels,
        )

    def split_records(self) -> dict[SplitName, SplitRecord]:
        """Size, class counts and hash of every split."""
        records: dict[SplitName, SplitRecord] = {}
        for name, rows in self.splits.rows.items():
            names = [self.source.labels[label] for label in self.labels[rows]]
            records[name] = SplitRecord(
                num_photos=len(rows),
                class_counts={label: names.count(label) for label in self.source.labels},
                sha256=split_digest([self.content_sha256[row] for row in rows], names),
            )
        return records

    def write_splits(self, folder: Path) -> None:
        """Write splits.csv: who is in which split, so that later stages find the very same photos."""
        out = io.StringIO()
        table = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)  # a name may hold a line end
        table.writerow(["split", "label", "content_sha256", "id"])
        for name in SPLITS:
            for row in self.splits.rows[name]:
                table.writerow([name, self.labels[row], self.content_sha256[row].hex(), self.ids[row]])
        atomic_write(folder / SPLITS_FILE, out.getvalue().encode())


@dataclass(frozen=True)
class SplitPhotos:
    """The photos of one split of a run. ``pixels``: uint8 (N, S, S, 3); ``labels``: int64 (N,)."""

    ids: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    content_sha256: tuple[bytes, ...]
    pixels: Rows


def pixel_cache(input_size: int, pixel_range: PixelRange | None) -> RowCache:
    """Where pixels of this size are kept; a change of the preprocessing, or another range, starts a new cache."""
    namespace = f"pixels-{preprocessing.version(pixel_range)}/{input_size}"
    return RowCache(namespace, (input_size, input_size, 3), np.uint8)


def _digest_cache(pixel_range: PixelRange | None) -> RowCache:
    return RowCache(f"pixel-digests-{preprocessing.version(pixel_range)}", (32,), np.uint8)


def content_key(photo: Photo) -> bytes:
    """SHA-256 of the example as its source holds it; of nothing, where that can't be read."""
    if isinstance(photo.data, UnreadableImage):
        return hashlib.sha256().digest()
    if isinstance(photo.data, bytes):
        return hashlib.sha256(photo.data).digest()
    return hashlib.sha256(f"{photo.data.shape}".encode() + photo.data.tobytes()).digest()


def prepare(
    source: Source,
    input_size: int,
    seed: int,
    progress: Progress,
    later_bytes_a_photo: int = 0,
    pixel_range: PixelRange | None = None,
) -> Dataset:
    """Read a source once: decode what is not cached, split, and check that it can be trained on.

    ``pixel_range``: of 16-bit photos, as :func:`tledge.preprocessing.decode` takes it.
    ``later_bytes_a_photo``: what will be kept of each new one beside its pixels, at least; a disk without room for all is an
    EnvironmentFault before any is read.
    Raises InputError for no photos, fewer than two classes, a class with fewer than two photos, over
    5% unreadable photos, or 16-bit photos of an unknown range. Unreadable photos below that are warned of and recorded.
    """
    for warning in source.warnings:
        progress.warn(warning)
    ids, labels, keys, source_splits, unreadable = _ingest(
        source, input_size, pixel_range, progress, later_bytes_a_photo
    )
    if found := unreadable.warning(len(ids)):
        progress.warn(found)
    if not ids:
        raise InputError(f"data set {source.spec}: no photos in it")
    label_array = np.array(labels, np.int64)
    _check_classes(source, label_array)
    digests = _digest_cache(pixel_range).rows(keys)[:]
    splits = assign([row.tobytes() for row in digests], label_array, source_splits, seed)
    _check_split_classes(source, label_array, splits, progress)
    pixels = pixel_cache(input_size, pixel_range).rows(keys)
    skipped = tuple(unreadable.skipped)
    return Dataset(source, input_size, pixel_range, tuple(ids), label_array, tuple(keys), pixels, splits, skipped)


def _ingest(
    source: Source,
    input_size: int,
    pixel_range: PixelRange | None,
    progress: Progress,
    later_bytes_a_photo: int = 0,
) -> tuple[list[str], list[int], list[bytes], list[SplitName | None], Unreadable]:
    cached_pixels, cached_digests = pixel_cache(input_size, pixel_range), _digest_cache(pixel_range)
    ids: list[str] = []
    labels: list[int] = []
    keys: list[bytes] = []
    source_splits: list[SplitName | None] = []
    unreadable = Unreadable(source.spec)
    new_digests: dict[bytes, Array] = {}

    def new_pixels() -> Iterator[tuple[bytes, Array]]:
        written: set[bytes] = set()
        for photo in _decoded(source, cached_pixels, cached_digests, input_size, pixel_range):
            advance(1)
            if isinstance(photo.outcome, UnreadableImage):
                unreadable.add(photo.id, photo.outcome)
                continue
            ids.append(photo.id)
            labels.append(photo.label)
            keys.append(photo.key)
            source_splits.append(photo.source_split)
            if photo.outcome is not None:
                new_digests[photo.key] = np.frombuffer(photo.outcome.digest, np.uint8)
                if photo.key not in cached_pixels and photo.key not in written:
                    written.add(photo.key)
                    yield photo.key, photo.outcome.pixels

    with progress.step(f"reading {source.name}", source.num_photos) as advance:
        # Which photos are new is unknown before each was hashed: at least so many, if none of them is there twice.
        num_new = max(0, source.num_photos - len(cached_pixels))
        cached_pixels.add(new_pixels(), num_new, num_new * later_bytes_a_photo)
    cached_digests.add(((k, d) for k, d in new_digests.items() if k not in cached_digests), len(new_digests))
    return ids, labels, keys, source_splits, unreadable


class _Read(NamedTuple):
    """A photo without its data, and what it became; None where its pixels and their digest are cached."""

    id: str
    label: int
    source_split: SplitName | None
    key: bytes
    outcome: preprocessing.Prepared | UnreadableImage | None


def _decoded(
    source: Source, pixels: RowCache, digests: RowCache, input_size: int, pixel_range: PixelRange | None
) -> Iterator[_Read]:
    """Every photo in order."""

    def work(item: tuple[Photo, bytes]) -> _Read:
        photo, key = item
        is_cached = key in pixels and key in digests
        outcome = None if is_cached else photo.prepared(input_size, pixel_range)
        return _Read(photo.id, photo.label, photo.source_split, key, outcome)

    return ahead(work, _with_keys(source.photos()), lambda item: item[0].num_bytes)


def _with_keys(photos: Iterator[Photo]) -> Iterator[tuple[Photo, bytes]]:
    for photo in photos:
        yield photo, content_key(photo)
        del photo  # it may be large, and so may be the next


def _check_classes(source: Source, labels: npt.NDArray[np.int64]) -> None:
    if len(source.labels) < 2:
        raise InputError(
            f"data set {source.spec}: one class ({', '.join(source.labels)}); a classifier needs at least two class folders"
        )
    counts = np.bincount(labels, minlength=len(source.labels))
    poor = [f"{name} ({count})" for name, count in zip(source.labels, counts, strict=True) if count < 2]
    if poor:
        raise InputError(
            f"data set {source.spec}: a class needs at least two photos, and these have fewer: {', '.join(poor)}. "
            "Add photos, or remove the class folder."
        )


def _check_split_classes(source: Source, labels: npt.NDArray[np.int64], splits: Assignment, progress: Progress) -> None:
    for split, rows in splits.rows.items():
        counts = np.bincount(labels[rows], minlength=len(source.labels))
        absent = [name for name, count in zip(source.labels, counts, strict=True) if count == 0]
        if absent and split == "train":
            raise InputError(
                f"data set {source.spec}: no training photo of {', '.join(absent)}: the class can't be learned. "
                "Add photos of it, or choose another --seed."
            )
        if absent:
            progress.warn(f"no {split} photo of {', '.join(absent)}: how well it is recognised is not measured there")
    if splits.conflicting_labels:
        progress.warn(f"pictures that occur under more than one label: {splits.conflicting_labels}")
    if len(splits.dropped):
        progress.warn(f"left out {len(splits.dropped)} copies of pictures that the source holds out for a later split")


class Member(NamedTuple):
    """A photo of a split, without its pixels."""

    id: str
    content_sha256: bytes
    label: int


def members(run: Run, split: SplitName) -> list[Member]:
    """Who is in a split of a run."""
    with (run.folder / SPLITS_FILE).open(newline="", encoding="utf-8") as file:
        return [
            Member(entry["id"], bytes.fromhex(entry["content_sha256"]), int(entry["label"]))
            for entry in csv.DictReader(file)
            if entry["split"] == split
        ]


def load_split(run: Run, split: SplitName, progress: Progress) -> SplitPhotos:
    """The photos of one split of a run, found by their content.

    They come from the pixel cache; where it lacks some, the data set is read again.
    Raises InputError where photos of the split are no longer in the data set.
    """
    manifest, photos = run.manifest, members(run, split)
    ids, keys = tuple(photo.id for photo in photos), tuple(photo.content_sha256 for photo in photos)
    cache = pixel_cache(manifest.backbone.input_size, manifest.pixel_range)
    if any(key not in cache for key in keys):
        cache = _read_again(manifest, keys, ids, progress)
    labels = np.array([photo.label for photo in photos], np.int64)
    return SplitPhotos(ids, labels, keys, cache.rows(keys))


def _read_again(manifest: Manifest, keys: Sequence[bytes], ids: Sequence[str], progress: Progress) -> RowCache:
    size, spec = manifest.backbone.input_size, manifest.dataset.spec
    *_, unreadable = _ingest(open_source(spec), size, manifest.pixel_range, progress)
    cache = pixel_cache(size, manifest.pixel_range)
    missing = [photo_id for photo_id, key in zip(ids, keys, strict=True) if key not in cache]
    if missing:
        reasons = {photo.id: photo.reason for photo in unreadable.skipped}
        shown = ", ".join(f"{one} ({reasons[one]})" if one in reasons else one for one in missing[:5])
        raise InputError(
            f"data set {spec} changed since run {manifest.name} was built: {len(missing)} photos of it are missing, "
            f"differ or can't be read ({shown}{', ...' if len(missing) > 5 else ''}). Restore them, or build again."
        )
    return cache
