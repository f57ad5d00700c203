"""A source becomes a Dataset: every photo decoded once, its pixels cached, its split fixed."""

from __future__ import annotations

import csv
import hashlib
import io
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from tledge import near_copies, preprocessing
from tledge.cache import Array, Remedy, RowCache, Rows
from tledge.datasets import Photo, Source, open_source
from tledge.datasets.again import from_photos
from tledge.datasets.splits import Assignment, NearCopies, assign, split_digest, without_near_copies
from tledge.errors import InputError
from tledge.files import atomic_write
from tledge.near_copies import Fingerprints
from tledge.progress import Progress
from tledge.records import SPLITS, DatasetRecord, Manifest, SkippedPhoto, SplitName, SplitRecord
from tledge.run import Run

MAX_SKIPPED_SHARE = 0.05
SPLITS_FILE = "splits.csv"
FINGERPRINTS_FILE = "fingerprints.npy"
_Part = Literal["pixels", "digest", "fingerprint"]
_DECODE_THREADS = 2  # Pillow frees the interpreter lock while it decodes; more threads than cores gain nothing
_WINDOW = 64  # photos in flight: bounds the memory


@dataclass(frozen=True)
class Dataset:
    """A data set whose pixels are cached. Row i of every column is one photo, in the source's order."""

    source: Source
    input_size: int
    ids: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    content_sha256: tuple[bytes, ...]
    pixels: Rows
    fingerprints: Fingerprints
    splits: Assignment
    near_copies: NearCopies
    skipped: tuple[SkippedPhoto, ...]

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
            near_copies_dropped=list(self.near_copies.dropped),
            near_copies_kept=self.near_copies.num_kept,
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
        """Write splits.csv: who is in which split, so that later stages find the very same photos.

        And fingerprints.npy, uint8 (N, 256) in the order of its lines, by which near copies of them are found.
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


@dataclass(frozen=True)
class SplitPhotos:
    """The photos of one split of a run. ``pixels``: uint8 (N, S, S, 3); ``labels``: int64 (N,)."""

    ids: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    content_sha256: tuple[bytes, ...]
    pixels: Rows


def pixel_cache(input_size: int, progress: Progress | None = None) -> RowCache:
    """Where pixels of this size are kept; a change of the preprocessing starts a new cache.

    ``progress`` is told what can't be read of it, as :class:`RowCache` says.
    """
    namespace = f"pixels-v{preprocessing.VERSION}/{input_size}"
    return RowCache(namespace, (input_size, input_size, 3), np.uint8, progress)


def _digest_cache(progress: Progress | None = None) -> RowCache:
    return RowCache(f"pixel-digests-v{preprocessing.VERSION}", (32,), np.uint8, progress)


def _fingerprint_cache(input_size: int, progress: Progress | None = None) -> RowCache:
    namespace = f"fingerprints-v{preprocessing.VERSION}.{near_copies.VERSION}/{input_size}"
    return RowCache(namespace, (near_copies.LENGTH,), np.uint8, progress)


def content_key(photo: Photo) -> bytes:
    """SHA-256 of the example as its source holds it."""
    if isinstance(photo.data, bytes):
        return hashlib.sha256(photo.data).digest()
    return hashlib.sha256(f"{photo.data.shape}".encode() + photo.data.tobytes()).digest()


def prepare(source: Source, input_size: int, seed: int, progress: Progress, later_bytes_a_photo: int = 0) -> Dataset:
    """Read a source once: decode what is not cached, split, and check that it can be trained on.

    ``later_bytes_a_photo``: what will be kept of each new one beside its pixels, at least; a disk without room for all is an
    EnvironmentFault before any is read.
    Raises InputError for no photos, fewer than two classes, a class with fewer than two photos, or over
    5% unreadable photos (all named). Unreadable photos below that are warned of and recorded.
    """
    for warning in source.warnings:
        progress.warn(warning)
    ids, labels, keys, source_splits, skipped = _ingest(source, input_size, progress, later_bytes_a_photo)
    _check_readable(source, len(ids), skipped, progress)
    label_array = np.array(labels, np.int64)
    _check_classes(source, label_array)
    names = dict(zip(keys, ids, strict=True))

    def remedy(part: _Part) -> Remedy:
        return _remedy(lambda: source, input_size, part, names, progress)

    digests = _digest_cache().rows(keys, remedy("digest"))[:]
    splits = assign([row.tobytes() for row in digests], label_array, source_splits, seed)
    fingerprints = np.asarray(_fingerprint_cache(input_size).rows(keys, remedy("fingerprint"))[:], np.uint8)
    splits, copies = without_near_copies(splits, fingerprints, label_array, ids)
    for warning in copies.warnings():
        progress.warn(warning)
    _check_split_classes(source, label_array, splits, progress)
    pixels = pixel_cache(input_size).rows(keys, remedy("pixels"))
    return Dataset(
        source, input_size, tuple(ids), label_array, tuple(keys), pixels, fingerprints, splits, copies, tuple(skipped)
    )


def _remedy(
    open_it: Callable[[], Source],
    input_size: int,
    part: _Part,
    names: Mapping[bytes, str],
    progress: Progress,
) -> Remedy:
    """How one of the caches is mended. ``names``: the photos' ids by their keys."""
    return from_photos(
        open_it, content_key, lambda photo: np.asarray(getattr(_made(photo, input_size), part)), names, progress
    )


def _ingest(
    source: Source, input_size: int, progress: Progress, later_bytes_a_photo: int = 0
) -> tuple[list[str], list[int], list[bytes], list[SplitName | None], list[SkippedPhoto]]:
    caches = pixel_cache(input_size, progress), _digest_cache(progress), _fingerprint_cache(input_size, progress)
    cached_pixels, *small_caches = caches
    ids: list[str] = []
    labels: list[int] = []
    keys: list[bytes] = []
    source_splits: list[SplitName | None] = []
    skipped: list[SkippedPhoto] = []
    made: dict[bytes, tuple[Array, Array]] = {}  # digest and fingerprint

    def new_pixels() -> Iterator[tuple[bytes, Array]]:
        written: set[bytes] = set()
        for photo, key, outcome in _decoded(source, caches, input_size):
            advance(1)
            if isinstance(outcome, preprocessing.UnreadableImage):
                skipped.append(SkippedPhoto(id=photo.id, reason=str(outcome)))
                continue
            ids.append(photo.id)
            labels.append(photo.label)
            keys.append(key)
            source_splits.append(photo.source_split)
            if outcome is not None:
                made[key] = outcome.digest, outcome.fingerprint
                if key not in cached_pixels and key not in written:
                    written.add(key)
                    yield key, outcome.pixels

    with progress.step(f"reading {source.name}", source.num_photos) as advance:
        # Which photos are new is unknown before each was hashed: at least so many, if none of them is there twice.
        num_new = max(0, source.num_photos - len(cached_pixels))
        cached_pixels.add(new_pixels(), num_new, num_new * later_bytes_a_photo)
    for number, cache in enumerate(small_caches):
        cache.add(((key, parts[number]) for key, parts in made.items() if key not in cache), len(made))
    return ids, labels, keys, source_splits, skipped


@dataclass(frozen=True)
class _Made:
    """Of a photo, uint8: ``pixels`` (S, S, 3); ``digest`` (32,) of all that was decoded; ``fingerprint`` (256,)."""

    pixels: preprocessing.Pixels
    digest: npt.NDArray[np.uint8]
    fingerprint: npt.NDArray[np.uint8]


def _made(photo: Photo, input_size: int) -> _Made:
    """Decode a photo. Raises UnreadableImage."""
    image = preprocessing.decode(photo.data) if isinstance(photo.data, bytes) else preprocessing.to_rgb(photo.data)
    pixels = preprocessing.resize(image, input_size)
    digest = np.frombuffer(preprocessing.pixel_digest(image), np.uint8)
    return _Made(pixels, digest, near_copies.fingerprint(pixels))


_Outcome = _Made | preprocessing.UnreadableImage | None


def _decoded(source: Source, caches: Sequence[RowCache], input_size: int) -> Iterator[tuple[Photo, bytes, _Outcome]]:
    """Every photo in order with what is made of it; None where all of that is cached."""

    def work(photo: Photo, key: bytes) -> _Outcome:
        if all(key in cache for cache in caches):
            return None
        try:
            return _made(photo, input_size)
        except preprocessing.UnreadableImage as error:
            return error

    pending: deque[tuple[Photo, bytes, Future[_Outcome]]] = deque()
    with ThreadPoolExecutor(_DECODE_THREADS) as pool:
        for photo in source.photos():
            key = content_key(photo)
            pending.append((photo, key, pool.submit(work, photo, key)))
            if len(pending) >= _WINDOW:
                first, first_key, future = pending.popleft()
                yield first, first_key, future.result()
        for photo, key, future in pending:
            yield photo, key, future.result()


def _check_readable(source: Source, num_read: int, skipped: list[SkippedPhoto], progress: Progress) -> None:
    if not skipped:
        if not num_read:
            raise InputError(f"data set {source.spec}: no photos in it")
        return
    shown = "; ".join(f"{photo.id} ({photo.reason})" for photo in skipped[:5])
    more = f"; and {len(skipped) - 5} more" if len(skipped) > 5 else ""
    total = num_read + len(skipped)
    if len(skipped) > MAX_SKIPPED_SHARE * total:
        raise InputError(
            f"data set {source.spec}: {len(skipped)} of {total} photos can't be read, "
            f"over {MAX_SKIPPED_SHARE:.0%}: {shown}{more}. Repair or remove them."
        )
    progress.warn(f"skipped {len(skipped)} of {total} photos that can't be read: {shown}{more}")


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

    They come from the pixel cache; where it lacks some, the data set is read again, and so it is for damaged ones.
    Raises InputError where photos of the split are no longer in the data set; reading a damaged one that can't be made again
    is an EnvironmentFault.
    """
    manifest, photos, size = run.manifest, members(run, split), run.manifest.backbone.input_size
    ids, keys = tuple(photo.id for photo in photos), tuple(photo.content_sha256 for photo in photos)
    cache = pixel_cache(size, progress)
    if any(key not in cache for key in keys):
        cache = _read_again(manifest, keys, ids, progress)
    labels = np.array([photo.label for photo in photos], np.int64)
    names = dict(zip(keys, ids, strict=True))
    remedy = _remedy(lambda: open_source(manifest.dataset.spec), size, "pixels", names, progress)
    return SplitPhotos(ids, labels, keys, cache.rows(keys, remedy))


def _read_again(manifest: Manifest, keys: Sequence[bytes], ids: Sequence[str], progress: Progress) -> RowCache:
    size = manifest.backbone.input_size
    _ingest(open_source(manifest.dataset.spec), size, progress)
    cache = pixel_cache(size)
    missing = [photo_id for photo_id, key in zip(ids, keys, strict=True) if key not in cache]
    if missing:
        shown = ", ".join(missing[:5])
        raise InputError(
            f"data set {manifest.dataset.spec} changed since run {manifest.name} was built: {len(missing)} photos of it "
            f"are missing or differ ({shown}{', ...' if len(missing) > 5 else ''}). Restore them, or build again."
        )
    return cache
