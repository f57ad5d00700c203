"""These pure functions are the accuracy gate: they judge a drop and its 95% interval by a budget."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from tledge.records import Check, Drift, Interval
from tledge.statistics import Z, difference_interval_points, difference_statistic

CHECK_NAME = "max_accuracy_drop_points"


@dataclass(frozen=True)
class Certification:
    """A certification is the judgement of a drop by a budget, both in points.

    Attributes:
        verdict: Certified where the upper end of the two-sided 95% interval is inside the budget, passed where only
            the drop itself is, and failed where neither is. A true drop that equals the budget would be certified
            on about 2.5% of all test sets.
        is_significant: Whether the verdict is failed and the whole interval lies above the budget.
        num_photos_to_certify: The result of :func:`photos_to_certify`.
    """

    num_photos: int
    max_drop_points: float
    drop_points: float
    interval_points: Interval
    verdict: Literal["certified", "passed", "failed"]
    is_significant: bool
    num_photos_to_certify: int | None

    @property
    def num_more_photos(self) -> int | None:
        """Return how many more test photos would certify the budget: 0 where it is certified, None where none would."""
        if self.num_photos_to_certify is None:
            return None
        return max(0, self.num_photos_to_certify - self.num_photos)


def certify(right_to_wrong: int, wrong_to_right: int, num_photos: int, max_drop_points: float) -> Certification:
    """Judge the flips among ``num_photos`` test photos by a budget of 0..100 points.

    Raises ValueError for a budget out of range, and for counts that are negative or exceed ``num_photos``.
    """
    if not 0 <= max_drop_points <= 100:
        raise ValueError(f"a budget of {max_drop_points} points is not in 0..100")
    interval = difference_interval_points(right_to_wrong, wrong_to_right, num_photos)
    drop = 100 * (right_to_wrong - wrong_to_right) / num_photos
    verdict: Literal["certified", "passed", "failed"] = "failed"
    if drop <= max_drop_points:
        verdict = "certified" if interval.high <= max_drop_points else "passed"
    return Certification(
        num_photos=num_photos,
        max_drop_points=max_drop_points,
        drop_points=drop,
        interval_points=interval,
        verdict=verdict,
        is_significant=verdict == "failed" and interval.low > max_drop_points,
        num_photos_to_certify=photos_to_certify(right_to_wrong, wrong_to_right, num_photos, max_drop_points),
    )


def photos_to_certify(right_to_wrong: int, wrong_to_right: int, num_photos: int, max_drop_points: float) -> int | None:
    """Return the size of the smallest test set on which the same shares of flips would certify the budget.

    The result is None where the drop is not below the budget, for then no test set would do, or where the set would
    need 2^53 photos or more. At constant shares the score statistic of a difference grows with the square root of the
    number of photos, so N photos at statistic T become N (1.96 / T)^2. This is a projection: other photos have
    somewhat other shares of flips, so plan with some more.
    """
    largest_share = max_drop_points / 100
    if 100 * (right_to_wrong - wrong_to_right) / num_photos >= max_drop_points:
        return None
    if largest_share >= 1:
        return 1  # No drop exceeds 100 points.
    statistic = float(difference_statistic(right_to_wrong, wrong_to_right, num_photos, largest_share))
    needed = num_photos * (Z / statistic) ** 2 if abs(statistic) > 1e-100 else math.inf
    return max(1, math.ceil(needed)) if needed < 2**53 else None


def accuracy_check(drift: Drift, max_drop_points: float, must_certify: bool) -> Check:
    """Judge the accuracy drop of an artifact by its budget, in points.

    With ``must_certify``, a drop that is inside the budget but not certified fails.
    """
    found = certify(drift.flips.right_to_wrong, drift.flips.wrong_to_right, drift.num_photos, max_drop_points)
    is_refused = must_certify and found.verdict == "passed"
    return Check(
        name=CHECK_NAME,
        limit=max_drop_points,
        measured=found.drop_points,
        verdict="failed" if is_refused else found.verdict,
        reason=_reason(found, is_refused),
    )


def _reason(found: Certification, is_refused: bool) -> str:
    """Explain the verdict in one sentence with its numbers."""
    limit = found.max_drop_points
    low, high = (_points(bound, limit) for bound in (found.interval_points.low, found.interval_points.high))
    seen = f"drop {_points(found.drop_points, limit)} points, 95% interval {low} to {high}"
    if found.verdict == "certified":
        return f"{seen}: certified, the whole interval is inside the budget of {limit:g}"
    if found.verdict == "failed":
        if found.is_significant:
            return f"{seen}: over the budget of {limit:g}, significantly: the whole interval lies above it"
        return f"{seen}: over the budget of {limit:g}, though not significantly: the interval reaches down to it"
    inside = f"inside the budget of {limit:g}, but not certified, as --certify asks" if is_refused else ""
    inside = inside or f"inside the budget of {limit:g}"
    if found.num_more_photos is None:
        return f"{seen}: {inside}; at a drop that equals the budget no number of test photos would certify it"
    return (
        f"{seen}: {inside}{';' if is_refused else ', but'} {found.num_more_photos:,} more test photos with the same share "
        "of flips would be needed to certify it"
    )


def _points(value: float, limit: float) -> str:
    """Write a value with two decimals, or with as many as distinguish it from the limit."""
    for decimals in (2, 3, 4):
        text = f"{value:z.{decimals}f}"
        if float(text) != limit or value == limit:
            return text
    return f"{value:z.6g}"
