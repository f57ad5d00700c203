"""Latencies of single inferences: protocols, summaries, comparisons, and the noise under them. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from tledge.errors import unknown
from tledge.records import Interval, Latency, NoiseFloor, Speedup

ProtocolName = Literal["quick", "standard", "mlperf"]
MIN_FLOOR = 0.03
"""Relative differences up to this are noise whatever the noise floor says: two processes of one artifact differ by their
memory layout, and one pair of processes shows that only by chance. benchmarks/self_comparison.py measures it."""
_RESAMPLES = 4999
_MIN_RUNS_A_ROUND = 5
_MAX_ROUND_S = 2.0


@dataclass(frozen=True)
class Rounds:
    """A protocol: how often an artifact is timed. ``min_queries`` and ``min_duration_s`` are over all rounds."""

    name: ProtocolName
    rounds: int
    runs_a_round: int
    warmup_limit: int
    min_queries: int = 0
    min_duration_s: float = 0.0

    def runs(self, median_ns: float) -> int:
        """Inferences of one round of an artifact that takes ``median_ns``: fewer where a round would take too long."""
        if self.min_duration_s:
            timed = math.ceil(self.min_duration_s / self.rounds / (median_ns / 1e9))
            return max(math.ceil(self.min_queries / self.rounds), timed)
        return max(_MIN_RUNS_A_ROUND, min(self.runs_a_round, int(_MAX_ROUND_S / (median_ns / 1e9))))

    @property
    def description(self) -> str:
        """For the report."""
        if self.min_duration_s:
            each = (
                f"at least {self.min_queries:,} queries and {self.min_duration_s:g} s of each artifact, single stream"
            )
        else:
            each = f"{self.rounds} rounds of up to {self.runs_a_round} inferences of each artifact"
        return f"{each}, interleaved, after a warm-up until three blocks of 10 agree to 2%"


# mlperf: the minimum of MLPerf Inference's single-stream scenario, whose metric is p90.
PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Rounds("quick", rounds=10, runs_a_round=20, warmup_limit=200),
        Rounds("standard", rounds=25, runs_a_round=20, warmup_limit=400),
        Rounds("mlperf", rounds=25, runs_a_round=0, warmup_limit=400, min_queries=1024, min_duration_s=60.0),
    )
}
assert set(PROTOCOLS) == set(get_args(ProtocolName))


def protocol(name: str) -> Rounds:
    """A protocol by name. Raises InputError with the nearest match."""
    found = {str(known): rounds for known, rounds in PROTOCOLS.items()}
    if name not in found:
        raise unknown("protocol", name, found)
    return found[name]


@dataclass(frozen=True)
class Started:
    """What was seen before the first round, in nanoseconds."""

    load_ns: int
    first_inference_ns: int
    warmup_runs: int
    is_stable: bool


def summarise(latencies_ns: Sequence[Sequence[int]], num_threads: int, started: Started) -> Latency:
    """Percentiles (linear interpolation) of all rounds together, in milliseconds; ``latencies_ns``: a list a round.

    Precondition: at least one latency in each round.
    """
    milliseconds = np.concatenate([np.asarray(part, np.float64) for part in latencies_ns]) / 1e6
    p25, p50, p75, p90, p95, p99 = np.percentile(milliseconds, [25, 50, 75, 90, 95, 99])
    return Latency(
        num_threads=num_threads,
        runs=len(milliseconds),
        rounds=len(latencies_ns),
        warmup_runs=started.warmup_runs,
        is_stable=started.is_stable,
        mean_ms=float(np.mean(milliseconds)),
        p50_ms=float(p50),
        p90_ms=float(p90),
        p95_ms=float(p95),
        p99_ms=float(p99),
        iqr_ms=float(p75 - p25),
        quantiles_ms=np.percentile(milliseconds, np.arange(0, 101, 5)).tolist(),
        round_medians_ms=[float(np.median(np.asarray(part, np.float64))) / 1e6 for part in latencies_ns],
        load_ms=started.load_ns / 1e6,
        first_inference_ms=started.first_inference_ns / 1e6,
    )


def noise_floor(artifact: str, first: Latency, second: Latency) -> NoiseFloor:
    """How far one artifact is from itself: the further end of the interval of the two processes' ratio."""
    ratio, interval = _ratio(first.round_medians_ms, second.round_medians_ms)
    floor = max(MIN_FLOOR, abs(interval.low - 1.0), abs(interval.high - 1.0))
    return NoiseFloor(
        artifact=artifact, num_threads=first.num_threads, ratio=ratio, ratio_interval=interval, floor=floor
    )


def measured_speedup(mine: Latency, against: str, other: Latency, floor: NoiseFloor) -> Speedup:
    """``other`` over ``mine``, timed in the same rounds.

    A difference is measured where the interval excludes 1 and the ratio leaves the noise floor, in relative terms
    either way round: 1 / (1 + floor) <= ratio <= 1 + floor is noise.
    """
    ratio, interval = _ratio(other.round_medians_ms, mine.round_medians_ms)
    verdict: Literal["faster", "slower", "no difference measured"] = "no difference measured"
    if interval.low > 1.0 and ratio > 1.0 + floor.floor:
        verdict = "faster"
    elif interval.high < 1.0 and ratio < 1.0 / (1.0 + floor.floor):
        verdict = "slower"
    return Speedup(against=against, num_threads=mine.num_threads, ratio=ratio, ratio_interval=interval, verdict=verdict)


def _ratio(numerator_ms: Sequence[float], denominator_ms: Sequence[float]) -> tuple[float, Interval]:
    """Geometric mean over the rounds of the ratio of their medians, with a 95% interval.

    Percentile bootstrap over rounds (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13): runs of
    one round follow each other and share its disturbance, so the round is what is drawn again. The seed is fixed.
    """
    pairs = list(zip(numerator_ms, denominator_ms, strict=True))
    logs: npt.NDArray[np.float64] = np.log([above / below for above, below in pairs])
    drawn = np.random.default_rng(0).integers(0, len(logs), (_RESAMPLES, len(logs)))
    low, high = np.exp(np.percentile(np.mean(logs[drawn], axis=1), [2.5, 97.5]))
    return float(np.exp(np.mean(logs))), Interval(low=float(low), high=float(high))
