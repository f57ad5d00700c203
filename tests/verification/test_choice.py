"""The best artifact keeps every budget, and every other one lost for a reason that is said."""

from __future__ import annotations

from tledge.records import Check
from tledge.verification.choice import choose_best

from .samples import a_row


def _reasons(*rows: object) -> dict[str, str]:
    return {lost.artifact: lost.reason for lost in choose_best(rows).others}  # type: ignore[arg-type]


def test_the_fastest_that_keeps_every_budget_wins() -> None:
    rows = [a_row("slow", 9.0), a_row("fast", 3.0), a_row("fastest", 1.0, failed="drop 3 points")]
    assert choose_best(rows).best == "fast on litert"
    assert _reasons(*rows) == {
        "slow on litert": "p50 9.00 ms against 3.00 ms",
        "fastest on litert": "runs: drop 3 points",
    }


def test_of_equally_fast_ones_the_smallest_wins_then_the_smallest_drop() -> None:
    rows = [a_row("large", size_bytes=2_000_000), a_row("lossy", drop=5), a_row("small")]
    assert choose_best(rows).best == "small on litert"
    assert _reasons(*rows) == {
        "large on litert": "2.000 MB against 1.000 MB",
        "lossy on litert": "as small, and no smaller drop",
    }


def test_a_difference_inside_the_noise_decides_nothing() -> None:
    rows = [a_row("small", 3.05, 1_000_000), a_row("large", 3.0, 2_000_000)]
    assert choose_best(rows).best == "large on litert"
    assert choose_best(rows, noise=0.03).best == "small on litert"
    assert [lost.reason for lost in choose_best(rows, noise=0.03).others] == ["2.000 MB against 1.000 MB"]


def test_without_latencies_the_smallest_wins() -> None:
    assert choose_best([a_row("a", None, 2_000_000), a_row("b", None, 1_000_000)]).best == "b on litert"


def test_where_none_keeps_every_budget_there_is_no_best_one() -> None:
    found = choose_best([a_row("a", failed="over"), a_row("b", failed="under")])
    assert found.best is None
    assert [lost.reason for lost in found.others] == ["runs: over", "runs: under"]


def test_a_latency_that_is_not_judged_for_the_target_chooses_nothing() -> None:
    elsewhere = Check(name="max_p95_latency_ms", limit=100, measured=1.0, verdict="not judged", reason="another board")
    fast, small = (
        row.model_copy(update={"checks": [*row.checks, elsewhere]})
        for row in (a_row("fast", 1.0, 2_000_000), a_row("small", 9.0, 1_000_000))
    )
    found = choose_best([fast, small])
    assert found.best == "small on litert"
    assert "latency was not judged" in found.reason
