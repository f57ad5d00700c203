"""Latencies summarised."""

from __future__ import annotations

import numpy as np
import pytest

from tledge.verification.latency import summarise


def test_percentiles_are_numpys_and_in_milliseconds() -> None:
    latencies_ns = np.random.default_rng(0).integers(1_000_000, 9_000_000, 333).tolist()
    found = summarise(latencies_ns, num_threads=2, warmup_runs=20)
    for name, percent in (("p50_ms", 50), ("p90_ms", 90), ("p95_ms", 95), ("p99_ms", 99)):
        assert getattr(found, name) == pytest.approx(np.percentile(latencies_ns, percent) / 1e6)
    assert found.mean_ms == pytest.approx(np.mean(latencies_ns) / 1e6)
    assert (found.runs, found.num_threads, found.warmup_runs) == (333, 2, 20)


def test_hand_worked_percentiles() -> None:
    found = summarise([number * 1_000_000 for number in range(101)], 1, 0)
    assert (found.p50_ms, found.p90_ms, found.p95_ms, found.p99_ms) == (50, 90, 95, 99)


def test_one_latency_is_every_percentile() -> None:
    found = summarise([2_500_000], 1, 0)
    assert {found.p50_ms, found.p90_ms, found.p95_ms, found.p99_ms, found.mean_ms} == {2.5}
