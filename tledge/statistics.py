"""These functions compute confidence intervals and tests for counts of right and wrong answers, at 95%, two-sided.

A paired difference compares two classifiers on the same photos. Only the photos that exactly one of them gets right
tell the two apart: ``only_first`` (right to wrong) and ``only_second`` (wrong to right), out of ``num_photos``.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from tledge.records import Interval

CONFIDENCE = 0.95
Z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
"""This is 1.96 standard errors: each bound of an interval is missed with a probability of 2.5%."""

Doubles = npt.NDArray[np.float64]


def wilson_interval(successes: int, trials: int) -> Interval:
    """Return the score interval of a share, as fractions (Wilson 1927, J. Am. Stat. Assoc. 22:209-212).

    The formula is written out, because scipy.stats takes a second to import. Raises ValueError unless 0 <= successes <=
    trials and trials >= 1.
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"{successes} of {trials} is no share")
    share, weight = successes / trials, Z**2 / trials
    centre = (share + weight / 2) / (1 + weight)
    half = math.sqrt(weight * (share * (1 - share) + weight / 4)) / (1 + weight)
    return Interval(low=0.0 if successes == 0 else centre - half, high=1.0 if successes == trials else centre + half)


def mcnemar_p_value(only_first: int, only_second: int) -> float:
    """Return the exact two-sided p-value that both are equally good (McNemar 1947, Psychometrika 12:153-157).

    This is the conditional form of the test. If both were equally good, each photo that tells them apart would favour
    either with probability 1/2. The p-value is 1 where there is no such photo.
    """
    from scipy.special import bdtr

    discordant = only_first + only_second
    # The distribution is symmetric: twice the smaller tail, which holds the middle twice where both are equal.
    return min(1.0, 2.0 * float(bdtr(min(only_first, only_second), discordant, 0.5)))


def is_clearly_higher(values: npt.NDArray[np.floating], others: npt.NDArray[np.floating]) -> bool:
    """Tell whether the mean of ``values`` (N,) is higher than that of ``others`` (N,), which are paired with them.

    The whole 95% interval of the mean difference is above zero then. One pair has no interval, and tells nothing.
    """
    differences = values - others
    error = float(np.std(differences, ddof=1)) / math.sqrt(len(differences)) if len(differences) > 1 else math.inf
    return float(np.mean(differences)) > Z * error


def difference_statistic(
    only_first: npt.ArrayLike, only_second: npt.ArrayLike, num_photos: npt.ArrayLike, difference: npt.ArrayLike
) -> Doubles:
    """Return how many standard errors the counts lie above a supposed difference (Tango 1998, eq. 24-26).

    The difference is that of the two shares. The formula is (b - c - N d) / sqrt(N (2 q + d (1 - d))) with b =
    only_first, c = only_second, and q the maximum-likelihood probability of ``only_second`` under the supposition.
    Counts may be fractions (a share times a number of photos); ``difference`` d is a fraction in (-1, 1). The arguments
    broadcast. The result is not a number where no flip was seen and d is 0.
    """
    b, c, n, d = (np.asarray(part, np.float64) for part in (only_first, only_second, num_photos, difference))
    with np.errstate(invalid="ignore"):
        return np.asarray((b - c - n * d) / np.sqrt(_variance(b, c, n, d)))


def difference_bounds(
    only_first: npt.ArrayLike, only_second: npt.ArrayLike, num_photos: npt.ArrayLike
) -> tuple[Doubles, Doubles]:
    """Return the 95% score interval of a paired difference, as fractions: (lower, upper), each in -1..1.

    It holds the differences that :func:`difference_statistic` finds within 1.96 standard errors (Tango 1998, Statistics
    in Medicine 17:891-908). Among the usual intervals it is the one that keeps its level with few flips: see
    docs/verification.md. The arguments broadcast; counts may be fractions. Raises ValueError for counts that are
    negative or that exceed ``num_photos``, and for ``num_photos`` below 1.
    """
    given = (np.asarray(part, np.float64) for part in (only_first, only_second, num_photos))
    b, c, n = np.broadcast_arrays(*given)
    if not np.all((b >= 0) & (c >= 0) & (b + c <= n) & (n >= 1)):
        raise ValueError(
            "flips must be counts of at least 0 that add up to no more than the number of photos, at least 1"
        )
    return -_upper_bound(c, b, n), _upper_bound(b, c, n)


def difference_interval_points(only_first: int, only_second: int, num_photos: int) -> Interval:
    """Return the interval of :func:`difference_bounds` for one pair of counts, in points (hundredths)."""
    lower, upper = difference_bounds(only_first, only_second, num_photos)
    return Interval(low=100 * float(lower), high=100 * float(upper))


def _variance(b: Doubles, c: Doubles, n: Doubles, d: Doubles) -> Doubles:
    """Return the variance of b - c where the true difference is ``d``; rounding must not push it below zero."""
    half = -b - c + (2 * n - b + c) * d
    root = np.sqrt(np.maximum(half**2 + 8 * n * c * d * (1 - d), 0))
    # The quadratic's root has two equal forms: this takes the one that does not subtract nearly equal numbers.
    with np.errstate(invalid="ignore", divide="ignore"):
        q = np.where(half > 0, 2 * c * d * (1 - d) / (root + half), (root - half) / (4 * n))
    return np.asarray(np.maximum(n * (2 * q + d * (1 - d)), 0))


def _upper_bound(b: Doubles, c: Doubles, n: Doubles) -> Doubles:
    from scipy.optimize.elementwise import find_root

    def excess(d: Doubles, b: Doubles, c: Doubles, n: Doubles) -> Doubles:
        """Return a value that is positive where ``d`` is inside the interval.

        The formula is multiplied out, so that it is finite everywhere.
        """
        return b - c - n * d + Z * np.sqrt(_variance(b, c, n, d))

    # Without flips the estimate itself is a root too; a hair above it only the bound is left.
    just_above = np.minimum((b - c) / n + 1e-12, 1.0)
    found = find_root(excess, (just_above, np.ones_like(just_above)), args=(b, c, n))
    if not np.all(found.success):
        raise ArithmeticError("the upper bound of a paired difference was not found")
    return np.asarray(found.x)
