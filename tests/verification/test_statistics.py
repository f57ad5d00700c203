"""Intervals and tests against published examples, other libraries, brute force, and simulation."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tledge.statistics import (
    CONFIDENCE,
    Z,
    difference_bounds,
    difference_interval_points,
    difference_statistic,
    mcnemar_p_value,
    wilson_interval,
)

# Two medical studies that Fagerland, Lydersen & Laake work out (Statistical Analysis of Contingency Tables, 2017,
# chapter 8, and its R package contingencytables): success under the first only, under the second only, and all pairs;
# Tango's interval; the exact conditional p-value of McNemar.
BENTUR = (1, 7, 21), (-0.517, -0.026), 0.0703
CAVO = (6, 16, 161), (-0.1240, -0.0054), 0.052479


@pytest.mark.parametrize(("counts", "interval", "p_value"), [BENTUR, CAVO])
def test_published_examples_come_out_as_published(
    counts: tuple[int, int, int], interval: tuple[float, float], p_value: float
) -> None:
    decimals = max(len(str(bound).split(".")[1]) for bound in interval)
    assert [round(float(bound), decimals) for bound in difference_bounds(*counts)] == list(interval)
    assert mcnemar_p_value(*counts[:2]) == pytest.approx(p_value, abs=5e-5)


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 0), (0, 1), (3, 0), (5, 3), (12, 2), (30, 31), (40, 9)])
def test_mcnemar_is_that_of_statsmodels(only_first: int, only_second: int) -> None:
    from statsmodels.stats.contingency_tables import mcnemar

    expected = mcnemar([[400, only_first], [only_second, 90]], exact=True).pvalue
    assert mcnemar_p_value(only_first, only_second) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("successes", "trials"), [(0, 539), (1, 539), (270, 539), (499, 539), (539, 539), (1, 1)])
def test_wilson_is_that_of_statsmodels(successes: int, trials: int) -> None:
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(successes, trials, alpha=1 - CONFIDENCE, method="wilson")
    found = wilson_interval(successes, trials)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-12), pytest.approx(high, abs=1e-12))


def _score_by_brute_force(b: int, c: int, n: int, difference: float) -> float:
    """The score statistic from its definition: the multinomial likelihood is maximised on ever finer grids."""
    low, high = max(0.0, -difference), (1 - difference) / 2
    for _ in range(12):
        q = np.linspace(low, high, 2001)[1:-1]
        likelihood = b * np.log(q + difference) + c * np.log(q) + (n - b - c) * np.log1p(-2 * q - difference)
        step, best = q[1] - q[0], q[np.argmax(likelihood)]
        low, high = max(low, best - 2 * step), min(high, best + 2 * step)
    return float((b - c - n * difference) / np.sqrt(n * (2 * best + difference - difference**2)))


@pytest.mark.parametrize("counts", [(5, 3, 539), (1, 7, 21), (12, 2, 50), (20, 20, 550), (3, 1, 40)])
def test_the_bounds_are_where_brute_force_finds_the_score_statistic_at_its_critical_value(
    counts: tuple[int, int, int],
) -> None:
    lower, upper = difference_bounds(*counts)
    assert _score_by_brute_force(*counts, float(lower)) == pytest.approx(Z, abs=1e-4)
    assert _score_by_brute_force(*counts, float(upper)) == pytest.approx(-Z, abs=1e-4)
    for difference in (-0.02, 0.003, 0.04):
        expected = _score_by_brute_force(*counts, difference)
        assert difference_statistic(*counts, difference) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("num_photos", [1, 2, 3, 10, 539])
def test_bounds_exist_for_every_count_that_can_be(num_photos: int) -> None:
    counts = np.unique([*range(min(num_photos, 12) + 1), num_photos // 2, num_photos - 1, num_photos])
    b, c = (grid.ravel() for grid in np.meshgrid(counts, counts))
    b, c = b[b + c <= num_photos], c[b + c <= num_photos]
    lower, upper = difference_bounds(b, c, num_photos)
    assert np.all((lower >= -1) & (lower < upper) & (upper <= 1))
    assert np.all((lower <= (b - c) / num_photos) & ((b - c) / num_photos <= upper))
    # To exchange the two sides mirrors the interval.
    mirrored_lower, mirrored_upper = difference_bounds(c, b, num_photos)
    np.testing.assert_array_equal((lower, upper), (-mirrored_upper, -mirrored_lower))


def test_without_flips_the_bounds_are_wilsons_of_no_success() -> None:
    bound = wilson_interval(0, 539).high
    assert bound == pytest.approx(0.0071, abs=5e-5)
    assert np.array(difference_bounds(0, 0, 539)) == pytest.approx(np.array([-bound, bound]), abs=1e-12)
    assert difference_interval_points(0, 0, 539).high == pytest.approx(100 * bound, abs=1e-10)


@pytest.mark.parametrize("counts", [(-1, 0, 5), (0, -1, 5), (3, 3, 5), (0, 0, 0)])
def test_counts_that_can_not_be_are_an_error(counts: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="flips must be counts"):
        difference_bounds(*counts)


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What benchmarks/intervals.py defines."""
    folder = Path(__file__).parents[2] / "benchmarks"
    monkeypatch.syspath_prepend(folder)
    return runpy.run_path(str(folder / "intervals.py"))


@pytest.mark.parametrize("num_photos", [539, 2000])
@pytest.mark.parametrize(
    ("right_to_wrong", "wrong_to_right"),
    [(0.005, 0.005), (0.01, 0.005), (0.01, 0.016), (0.016, 0.01), (0.02, 0.02), (0.03, 0.01), (0.05, 0.02)],
)
def test_the_interval_covers_the_true_drop_in_93_to_97_of_100_simulated_test_sets(
    right_to_wrong: float, wrong_to_right: float, num_photos: int
) -> None:
    rng = np.random.default_rng(3)
    shares = [right_to_wrong, wrong_to_right, 1 - right_to_wrong - wrong_to_right]
    b, c, _ = rng.multinomial(num_photos, shares, size=2000).T
    lower, upper = difference_bounds(b, c, num_photos)
    drop = right_to_wrong - wrong_to_right
    assert 0.93 <= np.mean((lower <= drop) & (drop <= upper)) <= 0.97


@pytest.mark.parametrize("rates", [(0.0005, 0.0005), (0.001, 0.001), (0.002, 0.001), (0.005, 0.0001)])
def test_with_hardly_any_flips_the_interval_is_too_wide_and_never_too_narrow(
    program: dict[str, Any], rates: tuple[float, float]
) -> None:
    # A test set with about two flips takes few different values: the level can't be hit, and is exceeded.
    covered, _ = program["exactly"](539, *rates)
    assert 0.97 < covered <= 1


@pytest.mark.parametrize("budget", [0.005, 0.01, 0.02])
@pytest.mark.parametrize("wrong_to_right", [1e-6, 0.001, 0.005, 0.016, 0.05])
def test_a_true_drop_of_the_budget_is_certified_in_less_than_27_of_1000_test_sets(
    program: dict[str, Any], budget: float, wrong_to_right: float
) -> None:
    for num_photos in (200, 539, 2000):
        _, certified = program["exactly"](num_photos, budget + wrong_to_right, wrong_to_right)
        assert certified < 0.027


def test_the_benchmark_judges_rivals_that_are_what_they_are_called(program: dict[str, Any]) -> None:
    # The second study above; 59 pairs succeed under both, 80 under neither.
    both, b, c, neither = (np.array([count], np.float64) for count in (59, 6, 16, 80))
    for found, published in [
        (program["newcombe"](both, b, c, neither), [-0.1186, -0.0046]),
        (program["bonett_price"](b, c, both + b + c + neither), [-0.1195, -0.0032]),
    ]:
        assert np.concatenate(found) == pytest.approx(published, abs=5e-5)


def test_where_flips_are_few_the_rivals_are_too_wide(program: dict[str, Any]) -> None:
    exact, _ = program["exactly"](539, 0.005, 0.005)
    for rival in program["simulated"](539, 0.005, 0.005, runs=2000, seed=0):
        assert rival > 0.975 > exact > 0.945
