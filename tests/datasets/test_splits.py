"""Which split a photo is in is a function of the photo."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from tledge.datasets.splits import Assignment, assign, fraction, split_digest, without_conflicts, without_near_copies
from tledge.errors import InputError
from tledge.records import SPLITS, SplitName


def _pictures(count: int, first: int = 0) -> list[bytes]:
    return [hashlib.sha256(f"{number}".encode()).digest() for number in range(first, first + count)]


def _places(pictures: list[bytes], assignment: Assignment) -> dict[bytes, str]:
    return {pictures[row]: name for name, rows in assignment.rows.items() for row in rows}


def _assign(pictures: list[bytes], seed: int = 0) -> Assignment:
    return assign(pictures, np.arange(len(pictures)) % 2, [None] * len(pictures), seed)


def test_shares_are_about_70_15_15() -> None:
    sizes = {name: len(rows) for name, rows in _assign(_pictures(10_000)).rows.items()}
    # Three standard deviations of a binomial share of 10,000: 1.4 points at 70%, 1.1 at 15%.
    assert sizes["train"] == pytest.approx(7000, abs=140)
    assert sizes["validation"] == pytest.approx(1500, abs=110)
    assert sizes["test"] == pytest.approx(1500, abs=110)


def test_every_photo_is_in_exactly_one_split() -> None:
    rows = np.concatenate([_assign(_pictures(500)).rows[name] for name in SPLITS])
    assert sorted(rows.tolist()) == list(range(500))


def test_adding_photos_moves_no_old_one() -> None:
    old, new = _pictures(300), _pictures(200, first=5000)
    mixed = [picture for pair in zip(new, old, strict=False) for picture in pair] + old[200:]
    before, after = _places(old, _assign(old)), _places(mixed, _assign(mixed))
    assert {picture: after[picture] for picture in old} == before


def test_another_seed_gives_another_split() -> None:
    pictures = _pictures(300)
    places = [_places(pictures, _assign(pictures, seed)) for seed in (0, 0, 1)]
    assert places[0] == places[1]
    moved = sum(places[0][picture] != places[2][picture] for picture in pictures)
    assert moved > 60  # 1 - (0.70^2 + 2 * 0.15^2) = 46% of 300 are expected to move


def test_the_same_picture_always_lands_in_one_split() -> None:
    pictures = _pictures(200)
    doubled = _assign(pictures + pictures)
    for rows in doubled.rows.values():
        members = {int(row) % 200 for row in rows}
        assert len(rows) == 2 * len(members)


def test_pictures_under_two_labels_are_named_and_leave_the_test_split_alone() -> None:
    pictures = [*_pictures(100), *_pictures(30)]
    labels = np.array([0] * 100 + [1] * 30)
    ids = [str(row) for row in range(130)]
    before = assign(pictures, labels, [None] * 130, 0)
    after, found = without_conflicts(before, pictures, labels, ids)
    assert found.pictures == tuple((str(row), str(row + 100)) for row in range(30))
    doubtful = [row for row in before.rows["test"].tolist() if row % 100 < 30]
    assert found.left_out == tuple(map(str, doubtful))
    assert doubtful
    assert after.rows["test"].tolist() == [row for row in before.rows["test"].tolist() if row not in doubtful]
    assert all(np.array_equal(after.rows[name], before.rows[name]) for name in ("train", "validation"))


def test_a_test_split_of_nothing_but_pictures_under_two_labels_is_refused() -> None:
    pictures = [*_pictures(20), *_pictures(2, first=90), *_pictures(2, first=90)]
    sources: list[SplitName | None] = [*["train"] * 10, *["validation"] * 10, *["test"] * 4]
    labels = np.array([0, 1] * 10 + [0, 0, 1, 1])
    made = assign(pictures, labels, sources, 0)
    with pytest.raises(InputError, match="each test photo occurs under another label too: 20; 21; 22; 23"):
        without_conflicts(made, pictures, labels, [str(row) for row in range(24)])


def test_a_test_split_of_the_source_is_kept_and_its_pictures_leave_training() -> None:
    pictures = _pictures(200) + _pictures(60, first=150)  # 50 pictures are in both
    sources: list[SplitName | None] = [*["train"] * 200, *["test"] * 60]
    made = assign(pictures, np.zeros(260, np.int64), sources, 0)
    assert made.rows["test"].tolist() == list(range(200, 260))
    assert made.dropped.tolist() == list(range(150, 200))
    assert sorted([*made.rows["train"], *made.rows["validation"]]) == list(range(150))
    assert len(made.rows["validation"]) == pytest.approx(0.15 * 150, abs=13)  # three standard deviations


def test_a_picture_in_both_held_out_splits_of_the_source_stays_in_test_alone() -> None:
    pictures = [*_pictures(20), *_pictures(5, first=100), *_pictures(5, first=100)]
    sources: list[SplitName | None] = [*["train"] * 20, *["validation"] * 5, *["test"] * 5]
    with pytest.raises(InputError, match="the validation split repeats the test split: all its 5 photos are there too"):
        assign(pictures, np.zeros(30, np.int64), sources, 0)
    sources[20] = "validation"
    pictures[20] = _pictures(1, first=999)[0]
    made = assign(pictures, np.zeros(30, np.int64), sources, 0)
    assert made.rows["validation"].tolist() == [20]
    assert made.rows["test"].tolist() == [25, 26, 27, 28, 29]
    assert made.dropped.tolist() == [21, 22, 23, 24]


def test_a_full_set_of_splits_of_the_source_moves_nothing() -> None:
    sources: list[SplitName | None] = [*["train"] * 20, *["validation"] * 10, *["test"] * 10]
    made = assign(_pictures(40), np.zeros(40, np.int64), sources, 7)
    assert [len(made.rows[name]) for name in SPLITS] == [20, 10, 10]


def _held_out(pictures: list[bytes], seed: int = 0) -> list[bytes]:
    """Those that are not trained on where each other one of a class is, the lowest fraction first."""
    return sorted((one for one in pictures if fraction(one, seed) >= 0.7), key=lambda one: fraction(one, seed))


def test_a_class_without_a_training_photo_gets_its_photo_of_the_lowest_hash() -> None:
    others, (first, *more) = _pictures(100), _held_out(_pictures(100, first=1000))
    pictures, labels = [*others, *more, first, first], np.array([0] * 100 + [1] * (len(more) + 2))
    made = assign(pictures, labels, [None] * len(labels), 0)
    assert made.moved.tolist() == [row for row, picture in enumerate(pictures) if picture == first]
    alone, places = _places(others, assign(others, np.zeros(100, np.int64), [None] * 100, 0)), _places(pictures, made)
    assert places == alone | {one: "test" if fraction(one, 0) >= 0.85 else "validation" for one in more} | {
        first: "train"
    }
    assert len(made.rows["train"]) == len(set(made.rows["train"].tolist()))


def test_a_photo_that_was_moved_into_training_stays_where_its_class_has_a_near_copy_elsewhere() -> None:
    others, (first, second, *_) = _pictures(100), _held_out(_pictures(100, first=1000))
    pictures, labels = [*others, first, second], np.array([0] * 100 + [1] * 2)
    fingerprints = np.random.default_rng(0).integers(0, 256, (102, 256)).astype(np.uint8)
    fingerprints[101] = fingerprints[100]
    made = assign(pictures, labels, [None] * 102, 0)
    left, copies = without_near_copies(made, fingerprints, labels, [str(row) for row in range(102)])
    assert made.moved.tolist() == [100]
    assert 100 in left.rows["train"]
    assert copies.dropped == ()


def test_a_class_with_a_training_photo_keeps_its_places() -> None:
    assert _assign(_pictures(300)).moved.tolist() == []


def test_a_photo_whose_source_fixed_its_split_is_not_moved_into_training() -> None:
    sources: list[SplitName | None] = [*["train"] * 50, *["test"] * 10]
    labels = np.array([0] * 50 + [1] * 10)
    made = assign(_pictures(60), labels, sources, 0)
    assert (made.moved.tolist(), made.rows["test"].tolist()) == ([], list(range(50, 60)))


def test_a_photo_of_a_train_folder_that_was_cut_from_it_goes_back() -> None:
    lost = _held_out(_pictures(100, first=1000))[:1]
    validated = next(one for one in _pictures(100, first=2000) if fraction(one, 0) >= 0.85)
    pictures = [*_pictures(50), validated, *_pictures(10, first=500), *lost]
    sources: list[SplitName | None] = [*["train"] * 51, *["test"] * 10, "test"]
    made = assign(pictures, np.array([0] * 50 + [1] + [0] * 10 + [1]), sources, 0)
    assert (made.moved.tolist(), made.rows["test"].tolist()) == ([50], list(range(51, 62)))


def test_too_few_photos_for_a_split_are_an_error_with_the_way_out() -> None:
    with pytest.raises(InputError, match=r"2 photos are too few for 3 splits, .*Add photos, or give train, ") as caught:
        _assign(_pictures(2))
    assert "--seed" not in str(caught.value)  # three splits can't be filled by two photos, whatever the seed
    with pytest.raises(InputError, match=r"Add photos, choose another --seed, or give train"):
        [_assign(_pictures(3), seed) for seed in range(9)]


def test_the_fraction_is_uniform_and_in_range() -> None:
    values = np.array([fraction(picture, 3) for picture in _pictures(2000)])
    assert 0 <= values.min() < 0.01
    assert 0.99 < values.max() < 1
    assert values.mean() == pytest.approx(0.5, abs=0.02)  # three standard deviations of the mean


def test_the_digest_of_a_split_ignores_order_and_sees_labels() -> None:
    keys = _pictures(3)
    digest = split_digest(keys, ["a", "b", "c"])
    assert split_digest(keys[::-1], ["c", "b", "a"]) == digest
    assert split_digest(keys, ["a", "c", "b"]) != digest
    assert split_digest(keys[:2], ["a", "b"]) != digest
