"""The accuracy gate: three verdicts, the test set it takes, and the sentence that says so."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tledge.records import Drift
from tledge.statistics import difference_bounds
from tledge.verification.certification import accuracy_check, certify, photos_to_certify
from tledge.verification.drift import drift


def _drift(right_to_wrong: int, wrong_to_right: int, num_photos: int) -> Drift:
    """Of answers with so many flips: class 0 is right everywhere, and a tenth of the original's answers is wrong."""
    before, after = np.zeros(num_photos, np.int64), np.zeros(num_photos, np.int64)
    after[:right_to_wrong] = 1
    before[-wrong_to_right or num_photos :] = 1
    return drift(np.zeros(num_photos, np.int64), np.eye(2)[before], np.eye(2)[after], ["daisy", "rose"])


@pytest.mark.parametrize(
    ("flips", "max_drop_points", "verdict", "is_significant"),
    [
        ((3, 8, 539), 1.0, "certified", False),
        ((0, 0, 539), 1.0, "certified", False),
        ((5, 3, 539), 1.0, "passed", False),
        ((5, 0, 500), 1.0, "passed", False),  # the drop is the budget
        ((0, 0, 200), 1.0, "passed", False),  # no flip at all, among too few photos
        ((5, 5, 539), 0.0, "passed", False),
        ((8, 1, 539), 1.0, "failed", False),
        ((30, 2, 539), 1.0, "failed", True),
        ((539, 0, 539), 98.0, "failed", True),
        ((539, 0, 539), 100.0, "certified", False),
    ],
)
def test_a_verdict_follows_from_the_estimate_and_the_interval(
    flips: tuple[int, int, int], max_drop_points: float, verdict: str, is_significant: bool
) -> None:
    found = certify(*flips, max_drop_points)
    assert (found.verdict, found.is_significant) == (verdict, is_significant)
    inside, below = found.drop_points <= max_drop_points, found.interval_points.high <= max_drop_points
    assert {(True, True): "certified", (True, False): "passed", (False, False): "failed"}[inside, below] == verdict
    assert accuracy_check(_drift(*flips), max_drop_points, must_certify=False).verdict == verdict


@pytest.mark.parametrize("flips", [(5, 3, 539), (0, 0, 200), (6, 6, 300), (2, 1, 539), (4, 0, 539), (19, 16, 539)])
@pytest.mark.parametrize("max_drop_points", [0.8, 1.0, 2.0])
def test_the_photos_needed_are_the_smallest_number_that_certifies_at_the_same_share_of_flips(
    flips: tuple[int, int, int], max_drop_points: float
) -> None:
    right_to_wrong, wrong_to_right, num_photos = flips
    needed = photos_to_certify(*flips, max_drop_points)
    assert needed is not None

    def upper_bound_points(photos: int) -> float:
        share = photos / num_photos
        return 100 * float(difference_bounds(share * right_to_wrong, share * wrong_to_right, photos)[1])

    assert upper_bound_points(needed) <= max_drop_points < upper_bound_points(needed - 1)


def test_what_is_certified_needs_no_more_photos_and_what_is_not_needs_some() -> None:
    for b, c, num_photos in itertools.product(range(0, 30, 3), range(0, 30, 3), (60, 539, 3000)):
        found = certify(b, c, num_photos, 1.0)
        if found.verdict == "certified":
            assert found.num_more_photos == 0
        elif found.drop_points < 1.0:
            assert found.num_more_photos
            assert found.num_more_photos > 0
        else:
            assert found.num_more_photos is None


@pytest.mark.parametrize("flips", [(5, 0, 500), (9, 2, 500)])
def test_no_number_of_photos_certifies_a_drop_that_is_not_below_the_budget(flips: tuple[int, int, int]) -> None:
    assert photos_to_certify(*flips, 1.0) is None
    assert certify(*flips, 1.0).num_more_photos is None


def test_a_budget_of_everything_is_certified_by_any_photo() -> None:
    assert photos_to_certify(5, 3, 539, 100.0) == 1


def test_a_gain_can_be_certified_even_for_a_budget_of_nothing() -> None:
    assert certify(3, 8, 539, 0.0).verdict == "passed"
    assert certify(1, 20, 539, 0.0).verdict == "certified"
    assert certify(0, 0, 10**6, 0.0).num_more_photos is None


@pytest.mark.parametrize("max_drop_points", [-0.1, 100.1, float("nan")])
def test_a_budget_that_is_no_share_is_an_error(max_drop_points: float) -> None:
    with pytest.raises(ValueError, match=r"not in 0\.\.100"):
        certify(1, 1, 10, max_drop_points)


@pytest.mark.parametrize(
    ("flips", "must_certify", "reason"),
    [
        (
            (3, 8, 539),
            False,
            "drop -0.93 points, 95% interval -2.41 to 0.33: certified, the whole interval is inside the budget of 1",
        ),
        (
            (5, 3, 539),
            False,
            "drop 0.37 points, 95% interval -0.81 to 1.67: inside the budget of 1, but 1,224 more test photos with the same "
            "share of flips would be needed to certify it",
        ),
        (
            (5, 0, 500),
            False,
            "drop 1.00 points, 95% interval 0.23 to 2.32: inside the budget of 1; at a drop that equals the budget no "
            "number of test photos would certify it",
        ),
        (
            (5, 3, 539),
            True,
            "drop 0.37 points, 95% interval -0.81 to 1.67: inside the budget of 1, but not certified, as --certify asks; "
            "1,224 more test photos with the same share of flips would be needed to certify it",
        ),
        (
            (8, 1, 539),
            True,
            "drop 1.30 points, 95% interval 0.27 to 2.74: over the budget of 1, though not significantly: the interval "
            "reaches down to it",
        ),
        (
            (30, 2, 539),
            False,
            "drop 5.19 points, 95% interval 3.40 to 7.51: over the budget of 1, significantly: the whole interval lies "
            "above it",
        ),
    ],
)
def test_the_reason_is_a_sentence_with_the_numbers(
    flips: tuple[int, int, int], must_certify: bool, reason: str
) -> None:
    check = accuracy_check(_drift(*flips), 1.0, must_certify)
    assert check.reason == reason
    assert (check.name, check.limit) == ("max_accuracy_drop_points", 1.0)
    assert check.measured == 100 * (flips[0] - flips[1]) / flips[2]


def test_must_certify_fails_what_would_only_pass_and_changes_nothing_else() -> None:
    for flips, without, demanded in [
        ((3, 8, 539), "certified", "certified"),
        ((5, 3, 539), "passed", "failed"),
        ((5, 0, 500), "passed", "failed"),
        ((30, 2, 539), "failed", "failed"),
    ]:
        assert accuracy_check(_drift(*flips), 1.0, must_certify=False).verdict == without
        assert accuracy_check(_drift(*flips), 1.0, must_certify=True).verdict == demanded


def test_a_number_that_is_not_the_budget_is_not_printed_as_it() -> None:
    high = certify(5, 3, 539, 1.0).interval_points.high
    close = round(high, 2)
    assert close != high
    reason = accuracy_check(_drift(5, 3, 539), close, must_certify=False).reason
    assert f"to {close:.2f}:" not in reason
    assert f"to {high:.3f}:" in reason


def test_at_a_true_drop_of_the_budget_few_simulated_test_sets_are_certified() -> None:
    rng = np.random.default_rng(3)
    for right_to_wrong, wrong_to_right in [(0.012, 0.002), (0.02, 0.01), (0.03, 0.02)]:
        shares = [right_to_wrong, wrong_to_right, 1 - right_to_wrong - wrong_to_right]
        drawn = rng.multinomial(539, shares, size=2000)[:, :2]
        counts, times = np.unique(drawn, axis=0, return_counts=True)
        certified = sum(times[[certify(*pair, 539, 1.0).verdict == "certified" for pair in counts.tolist()]])
        assert 0 < certified / 2000 < 0.035  # 2.5%, and three standard errors
