"""The split of a photo follows from the photo alone: it is trained on, chooses the epoch, or judges."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tledge.errors import InputError
from tledge.near_copies import Fingerprints, neighbours
from tledge.printable import counted, few
from tledge.records import SPLITS, NearCopy, SplitName

Indices = npt.NDArray[np.int64]

TRAIN, VALIDATION = 0.70, 0.15
RULE = (
    "a photo's place is SHA-256(seed, decoded pixels) as a fraction: below 0.70 train, below 0.85 validation, else test; "
    "a split that the source itself has is kept, and the missing ones are cut from its train split in the same proportion; "
    "a class without a training photo gets its photo with the lowest fraction, unless the source fixed the photo's split; "
    "near copies of photos of a later split are left out of the earlier ones; "
    "a picture that occurs under several labels is left out of the test split"
)
_LATER: tuple[tuple[SplitName, tuple[SplitName, ...]], ...] = (
    ("validation", ("test",)),
    ("train", ("validation", "test")),
)


@dataclass(frozen=True)
class Assignment:
    """An assignment holds the row numbers of each split (sorted), and of the training copies that were dropped.

    ``moved`` are the rows that were moved into training, because none of their class fell there.
    """

    rows: dict[SplitName, Indices]
    dropped: Indices
    moved: Indices


def fraction(pixel_sha256: bytes, seed: int) -> float:
    """Return a number in [0, 1) that depends on the picture and the seed alone."""
    digest = hashlib.sha256(f"tledge-split:{seed}:".encode() + pixel_sha256).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def assign(
    pixel_sha256: Sequence[bytes],
    labels: npt.NDArray[np.int64],
    source_splits: Sequence[SplitName | None],
    seed: int,
) -> Assignment:
    """Assign every photo to one split.

    The same picture always lands in the same split, whatever file it is in. Adding photos moves no old one. So the
    split can only be a function of the picture itself, and classes keep their proportions in expectation; the manifest
    records the counts. Where the source has its own held-out split, that split stays as published, and training copies
    of its pictures are dropped. A class that would have no training photo can't be learned: the photo of it whose
    fraction is lowest is moved into training, until a photo is added that falls there. Raises InputError where a split
    would be empty.
    """
    has = {name for name in source_splits if name is not None}
    place: list[SplitName | None] = []
    held_out: dict[bytes, SplitName] = {}
    for split in ("test", "validation"):
        for digest, source in zip(pixel_sha256, source_splits, strict=True):
            if source == split:
                held_out.setdefault(digest, split)
    for digest, source in zip(pixel_sha256, source_splits, strict=True):
        if digest in held_out:
            place.append(source if source == held_out[digest] else None)
        else:
            place.append(_own_split(fraction(digest, seed), has))
    moved = _needed_in_training(place, pixel_sha256, labels, held_out, seed)
    for row in moved:
        place[row] = "train"
    rows: dict[SplitName, Indices] = {
        name: np.array([i for i, p in enumerate(place) if p == name], np.int64) for name in SPLITS
    }
    dropped = np.array([i for i, p in enumerate(place) if p is None], np.int64)
    for name in SPLITS:
        if name in has and not len(rows[name]):
            later = {
                held_out[digest] for digest, source in zip(pixel_sha256, source_splits, strict=True) if source == name
            }
            raise InputError(_repeated(name, sorted(later), source_splits.count(name)))
        if not len(rows[name]):
            raise InputError(_too_few(name, len(labels), len(set(pixel_sha256) - held_out.keys()), has))
    return Assignment(rows, dropped, moved)


def _needed_in_training(
    place: Sequence[SplitName | None],
    pixel_sha256: Sequence[bytes],
    labels: npt.NDArray[np.int64],
    held_out: Collection[bytes],
    seed: int,
) -> Indices:
    """Return the rows of the picture with the lowest fraction of each class without a training photo.

    A picture that the source holds out stays where it is.
    """
    learned = {int(label) for label, split in zip(labels, place, strict=True) if split == "train"}
    lowest: dict[int, tuple[float, bytes]] = {}
    for digest, label in zip(pixel_sha256, labels.tolist(), strict=True):
        if label not in learned and digest not in held_out:
            mine = fraction(digest, seed), digest
            lowest[label] = min(lowest.get(label, mine), mine)
    chosen = {digest for _, digest in lowest.values()}
    return np.array([row for row, digest in enumerate(pixel_sha256) if digest in chosen], np.int64)


def _repeated(name: SplitName, later: Sequence[SplitName], num_photos: int) -> str:
    way_out = "Give each split photos of its own"
    if name == "validation":
        way_out += ", or leave the validation split out: tledge then takes one from the training photos"
    all_photos = "its only photo is" if num_photos == 1 else f"all its {num_photos:,} photos are"
    return f"the {name} split repeats the {' and the '.join(later)} split: {all_photos} there too. {way_out}."


def _too_few(name: SplitName, num_photos: int, num_pictures: int, source_has: set[SplitName]) -> str:
    """Say what is wrong where no photo fell into a split. Another seed helps only if there are pictures for all splits."""
    cut = [split for split in SPLITS if split == "train" or split not in source_has]
    seed = "choose another --seed, " if num_pictures >= len(cut) else ""
    of_them = f" (of {counted(num_pictures, 'different picture')})" if num_pictures != num_photos else ""
    return (
        f"no photo falls into the {name} split: {counted(num_photos, 'photo', 'is', 'are')}{of_them} "
        f"too few for {len(cut)} splits, which are cut as 70/15/15. Add photos, {seed}or give train, validation and test folders."
    )


@dataclass(frozen=True)
class Conflicts:
    """A ``Conflicts`` names the pictures that occur under more than one label, by the ids of their photos.

    ``pictures`` has the photos of each such picture. ``left_out`` are those that were left out of the test split.
    """

    pictures: tuple[tuple[str, ...], ...] = ()
    left_out: tuple[str, ...] = ()

    def warnings(self, label_of: Mapping[str, str]) -> list[str]:
        """Return what the user must be told of such pictures. ``label_of`` has the labels of photos by their ids."""
        if not self.pictures:
            return []
        named = few([" = ".join(f"{one} ({label_of[one]})" for one in ids) for ids in self.pictures])
        left_out = (
            f" Left out of the test split: {counted(len(self.left_out), 'photo')} of them." if self.left_out else ""
        )
        pictures = counted(len(self.pictures), "picture", "occurs", "occur")
        return [f"{pictures} under more than one label: {named}.{left_out} Remove the photos with a wrong label."]


def without_conflicts(
    assigned: Assignment, pixel_sha256: Sequence[bytes], labels: npt.NDArray[np.int64], ids: Sequence[str]
) -> tuple[Assignment, Conflicts]:
    """Leave pictures that occur under more than one label out of the test split: which label is true is unknown.

    Nothing else changes. Raises InputError where no test photo would be left.
    """
    by_picture: dict[bytes, list[int]] = {}
    for row, digest in enumerate(pixel_sha256):
        by_picture.setdefault(digest, []).append(row)
    conflicts = [rows for rows in by_picture.values() if len(set(labels[rows].tolist())) > 1]
    test = assigned.rows["test"]
    is_doubtful = np.isin(test, np.array([row for rows in conflicts for row in rows], np.int64))
    found = Conflicts(
        tuple(tuple(ids[row] for row in rows) for rows in conflicts), tuple(ids[row] for row in test[is_doubtful])
    )
    if is_doubtful.all():
        raise InputError(
            f"each test photo occurs under another label too: {few(found.left_out)}. Remove the wrong ones."
        )
    return replace(assigned, rows={**assigned.rows, "test": test[~is_doubtful]}), found


@dataclass(frozen=True)
class NearCopies:
    """A ``NearCopies`` names photos of an earlier split that are near to one of a later split.
    ``dropped`` are those that were left out. ``num_kept`` is the number of near photos that were kept.
    """

    dropped: tuple[NearCopy, ...] = ()
    num_kept: int = 0

    def warnings(self) -> list[str]:
        """Return what the user must be told of near copies."""
        found = []
        if self.dropped:
            shown = few([f"{one.id} (of {one.of}, {one.split})" for one in self.dropped], ", ")
            found.append(f"left out near copies of photos of a later split: {shown}")
        if self.num_kept:
            found.append(
                f"{counted(self.num_kept, 'photo', 'is', 'are')} as near to one of a later split as a copy is, and kept: many "
                "photos here are alike, or their classes differ. Where they are copies, the test accuracy says little of new "
                "photos."
            )
        return found


def without_near_copies(
    assigned: Assignment, fingerprints: Fingerprints, labels: npt.NDArray[np.int64], ids: Sequence[str]
) -> tuple[Assignment, NearCopies]:
    """Leave photos of train and validation out that are near copies of a photo of a later split, and of the same class.

    ``fingerprints`` are those of all photos, uint8 (N, 256). No test photo is left out. Photos are kept where so many
    are near each other that the data are alike by nature. They are also kept where the near photo is of another class,
    since then a small difference matters, and where a class would lose the photo that was moved into training for it.
    Raises InputError where a split would be empty.
    """
    rows, num_kept = dict(assigned.rows), 0
    records: list[NearCopy] = []
    for earlier, later in _LATER:
        mine, others = rows[earlier], np.concatenate([rows[name] for name in later])
        found = neighbours(fingerprints[mine], fingerprints[others])
        nearest = others[found.nearest]
        is_dropped = found.is_copy & (labels[mine] == labels[nearest]) & ~np.isin(mine, assigned.moved)
        num_kept += int(np.count_nonzero(found.is_near & ~is_dropped))
        split_of = {int(row): name for name in later for row in rows[name]}
        for row, of, distance in zip(mine[is_dropped], nearest[is_dropped], found.distance[is_dropped], strict=True):
            records.append(
                NearCopy(id=ids[row], of=ids[of], split=split_of[int(of)], distance=round(float(distance), 2))
            )
        rows[earlier] = mine[~is_dropped]
        if is_dropped.all():
            raise InputError(
                f"all photos of the {earlier} split are near copies of photos of a later split: {records[-1].id} is one of "
                f"{records[-1].of}. Add photos of its own."
            )
    return replace(assigned, rows=rows), NearCopies(tuple(records), num_kept)


def _own_split(value: float, source_has: set[SplitName]) -> SplitName:
    test = 0.0 if "test" in source_has else 1.0 - TRAIN - VALIDATION
    validation = 0.0 if "validation" in source_has else VALIDATION
    if value >= 1.0 - test:
        return "test"
    return "validation" if value >= 1.0 - test - validation else "train"


def split_digest(content_sha256: Sequence[bytes], labels: Sequence[str]) -> str:
    """Return the hex SHA-256 of a split's photos and their labels, whatever their order."""
    lines = sorted(f"{key.hex()} {label}" for key, label in zip(content_sha256, labels, strict=True))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
