"""How often 95% intervals of an accuracy drop hold the true drop, by method, number of photos and share of flips.

    python benchmarks/intervals.py --runs 200000

tledge's own interval (Tango) is judged exactly: every pair of counts, weighted by its probability. Its rivals, which also
depend on the photos that both sides get right, are judged on ``--runs`` simulated test sets of an original with 91%
accuracy. Then: how often a true drop of exactly the budget would be certified, exactly, at worst. Prints Markdown.
"""

from __future__ import annotations

import argparse
import itertools

import numpy as np
import numpy.typing as npt
from common import REPOSITORY

ACCURACY = 0.91
SETTINGS = [
    (539, 0.001, 0.001), (539, 0.002, 0.002), (539, 0.003, 0.003), (539, 0.005, 0.005), (539, 0.01, 0.005),
    (539, 0.01, 0.016), (539, 0.02, 0.02), (539, 0.03, 0.01), (2000, 0.002, 0.002), (2000, 0.005, 0.005),
    (2000, 0.03, 0.01),
]  # fmt: skip
SHARES = (0.005, 0.0075, 0.01, 0.016, 0.02, 0.03)
GRID = list(itertools.product((539, 550, 1000, 2000), (*SHARES, 0.04), SHARES))
BUDGETS = (0.005, 0.01, 0.02)
GAINED = (1e-9, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.016, 0.02, 0.03, 0.05, 0.1)

Doubles = npt.NDArray[np.float64]
Bounds = tuple[Doubles, Doubles]


def exactly(num_photos: int, lost: float, gained: float) -> tuple[float, float]:
    """Probability that tledge's interval holds the true drop, and that its upper bound is at or below it."""
    from scipy.stats import binom

    from tledge.statistics import difference_bounds

    most = [int(binom.isf(1e-9, num_photos, share)) + 2 for share in (lost, gained)]
    b, c = (grid.ravel() for grid in np.indices(most))
    weights = binom.pmf(b, num_photos, lost) * binom.pmf(c, num_photos - b, gained / (1 - lost))
    lower, upper = difference_bounds(b, c, num_photos)
    drop = lost - gained
    held = (lower <= drop + 1e-15) & (drop <= upper + 1e-15)  # the drop itself is rounded
    return float(weights[held].sum()), float(weights[upper <= drop].sum())


def newcombe(both: Doubles, b: Doubles, c: Doubles, neither: Doubles) -> Bounds:
    """Method 10 of Newcombe 1998, Statistics in Medicine 17:2635-2650: of Wilson's intervals, with their correlation."""
    n = both + b + c + neither
    first, second = (both + b) / n, (both + c) / n
    (low_1, high_1), (low_2, high_2) = _wilson(first, n), _wilson(second, n)
    product = (both + b) * (c + neither) * (both + c) * (b + neither)
    excess = both * neither - b * c
    excess = np.where(excess > n / 2, excess - n / 2, np.minimum(excess, 0))
    phi = np.where(product > 0, excess / np.sqrt(np.maximum(product, 1)), 0)

    def width(left: Doubles, right: Doubles) -> Doubles:
        return np.sqrt(left**2 - 2 * phi * left * right + right**2)

    return first - second - width(first - low_1, high_2 - second), first - second + width(
        second - low_2, high_1 - first
    )


def _wilson(share: Doubles, n: Doubles) -> Bounds:
    from tledge.statistics import Z

    middle, half = share + Z**2 / (2 * n), Z * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return (middle - half) / (1 + Z**2 / n), (middle + half) / (1 + Z**2 / n)


def bonett_price(b: Doubles, c: Doubles, n: Doubles) -> Bounds:
    """Bonett & Price 2012, J. Educ. Behav. Stat. 37:479-488: Wald's interval after one more flip each way."""
    from tledge.statistics import Z

    lost, gained = (b + 1) / (n + 2), (c + 1) / (n + 2)
    half = Z * np.sqrt((lost + gained - (lost - gained) ** 2) / (n + 2))
    return lost - gained - half, lost - gained + half


def simulated(num_photos: int, lost: float, gained: float, runs: int, seed: int) -> list[float]:
    """Share of test sets on which the rivals' intervals hold the true drop."""
    cells = [ACCURACY - lost, lost, gained, 1 - ACCURACY - gained]
    both, b, c, neither = np.random.default_rng(seed).multinomial(num_photos, cells, runs).T.astype(np.float64)
    rivals = newcombe(both, b, c, neither), bonett_price(b, c, both + b + c + neither)
    drop = lost - gained
    return [float(np.mean((lower <= drop) & (drop <= upper))) for lower, upper in rivals]


def main() -> None:
    parser = argparse.ArgumentParser(description="Coverage of intervals of an accuracy drop.")
    parser.add_argument("--runs", type=int, default=200_000, help="simulated test sets a setting [200000]")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    print("| photos | right to wrong | wrong to right | Tango (exact) | Newcombe, method 10 | Bonett-Price |")
    print("|---:|---:|---:|---:|---:|---:|")
    for setting in SETTINGS:
        held = [exactly(*setting)[0], *simulated(*setting, options.runs, options.seed)]
        shares = [f"{100 * share:.1f}%" for share in (*setting[1:], *held)]
        print(f"| {setting[0]} | {' | '.join(shares)} |", flush=True)
    covered = [exactly(*setting)[0] for setting in GRID]
    print(f"\nTango's exact coverage in {len(GRID)} settings: {100 * min(covered):.2f}% to {100 * max(covered):.2f}%")
    cases = itertools.product((200, 539, 1000, 2000, 5000), BUDGETS, GAINED)
    worst = max(exactly(num_photos, budget + gained, gained)[1] for num_photos, budget, gained in cases)
    print(f"A true drop of the budget is certified in at most {100 * worst:.2f}% of test sets")


if __name__ == "__main__":
    import sys

    sys.path.insert(0, str(REPOSITORY))  # this checkout's tledge, wherever another is installed
    main()
