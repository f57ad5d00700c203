"""Photos that a run has learned from are recognised in other data, by the content of a file and as near copies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from tledge.datasets.own_photos import own_photos
from tledge.datasets.run_photos import Member
from tledge.inference.labelled import Entry
from tledge.near_copies import Fingerprints, neighbours
from tledge.printable import counted, few
from tledge.progress import Progress
from tledge.records import SPLITS, NearCopy, SplitName
from tledge.run import Run

_LEARNT_FROM: tuple[SplitName, ...] = ("train", "validation")


class SeenPhotos:
    """A ``SeenPhotos`` recognises the photos of a run in other data.

    Attributes:
        by_content: number of photos of each split for which :meth:`is_learnt_from` was asked.
        copies: near copies of photos of any split that :meth:`judge` found.
        num_alike: number of photos that are as near to one that was learned from as a copy is, but are kept, because
            many photos are alike.
    """

    def __init__(self, run: Run, progress: Progress) -> None:
        self.by_content: Counter[SplitName] = Counter()
        self.copies: list[NearCopy] = []
        self.num_alike = 0
        self._run, self._own = run, own_photos(run, progress)
        # A run of an earlier tledge may hold one content in several splits. It counts for the last of them.
        self._split_of = {one.content_sha256: split for split in SPLITS for one in self._own.members[split]}

    def is_learnt_from(self, key: bytes) -> bool:
        """Tell whether a photo of this content is in the train or validation split, and count it."""
        split = self._split_of.get(key)
        if split:
            self.by_content[split] += 1
        return split in _LEARNT_FROM

    def judge(self, entries: Sequence[Entry], fingerprints: Fingerprints) -> npt.NDArray[np.bool_]:
        """Tell which photos are near copies of one that was learned from, bool (N,); fingerprints are uint8 (N, 256).

        Photos with the content of one of the run's are no near copies: :meth:`is_learnt_from` knows them already.
        """
        is_other = np.array([entry.key not in self._split_of for entry in entries], np.bool_)
        is_copy, num_near = self._compare(entries, fingerprints, is_other, _LEARNT_FROM)
        self.num_alike = num_near - int(np.count_nonzero(is_copy))
        self._compare(entries, fingerprints, is_other & ~is_copy, ("test",))
        return is_copy

    def _compare(
        self,
        entries: Sequence[Entry],
        fingerprints: Fingerprints,
        is_meant: npt.NDArray[np.bool_],
        splits: Sequence[SplitName],
    ) -> tuple[npt.NDArray[np.bool_], int]:
        """Tell which of the photos in ``is_meant`` are copies of photos of some splits, and how many are as near."""
        own: list[tuple[SplitName, Member]] = [(split, one) for split in splits for one in self._own.members[split]]
        rows = np.flatnonzero(is_meant)
        found = neighbours(fingerprints[rows], np.concatenate([self._own.fingerprints[split] for split in splits]))
        for place in np.flatnonzero(found.is_copy):
            split, of = own[found.nearest[place]]
            distance = round(float(found.distance[place]), 2)
            self.copies.append(NearCopy(id=entries[rows[place]].id, of=of.id, split=split, distance=distance))
        is_copy = np.zeros(len(entries), np.bool_)
        is_copy[rows[found.is_copy]] = True
        return is_copy, int(np.count_nonzero(found.is_near))

    def warnings(self, num_scored: int, includes_seen: bool) -> Iterator[str]:
        """Yield warnings of what was left out of the score, and of what is doubtful in the rest."""
        if self._own.problem:
            yield self._own.problem
        learnt = [one for one in self.copies if one.split in _LEARNT_FROM]
        if any(self.by_content[split] for split in _LEARNT_FROM) or learnt:
            if includes_seen:
                yield f"scored with {self.told()}: the accuracy says little of new photos"
            else:
                yield f"left out {self.told()}. With --include-seen they are scored too."
        if learnt:
            shown = few([f"{one.id} (of {one.of})" for one in learnt])
            yield f"{len(learnt)} of these are no files of the run, but its photos encoded or resized again: {shown}"
        if self.num_alike:
            yield (
                f"{counted(self.num_alike, 'scored photo', 'is', 'are')} as near to one that run {self._run.name} has learned from "
                "as a copy is. Many photos here are alike, so they are not taken for copies. Where they are, the accuracy says "
                "little of new photos."
            )
        if test := self._count("test"):
            are = "is" if test == 1 else "are"
            yield f"{test} of the {num_scored} photos scored {are} of the test split of run {self._run.name} itself"

    def told(self) -> str:
        """Say in words how many photos of the data the run has learned from."""
        train, validation = (self._count(split) for split in _LEARNT_FROM)
        return (
            f"{counted(train, 'photo')} that run {self._run.name} was trained on and {validation} that chose its epoch"
        )

    def _count(self, split: SplitName) -> int:
        return self.by_content[split] + sum(one.split == split for one in self.copies)
