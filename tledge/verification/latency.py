"""Latencies of single inferences, summarised."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tledge.records import Latency

WARMUP_RUNS = 20
MIN_TIMED_RUNS = 200


def summarise(latencies_ns: Sequence[int], num_threads: int, warmup_runs: int) -> Latency:
    """Percentiles (linear interpolation) and mean, in milliseconds. Precondition: at least one latency."""
    milliseconds = np.asarray(latencies_ns, np.float64) / 1e6
    p50, p90, p95, p99 = np.percentile(milliseconds, [50, 90, 95, 99])
    return Latency(
        p50_ms=float(p50),
        p90_ms=float(p90),
        p95_ms=float(p95),
        p99_ms=float(p99),
        mean_ms=float(np.mean(milliseconds)),
        runs=len(milliseconds),
        warmup_runs=warmup_runs,
        num_threads=num_threads,
    )
