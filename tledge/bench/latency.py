"""These pure functions summarise and compare the latencies of single inferences and judge their noise."""

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
"""The noise floor is never below this relative difference. Two processes of one artifact differ by their memory layout,
and one pair of processes shows that only by chance. benchmarks/self_comparison.py measures it."""
UNSTEADY = 0.10
"""Where the noise floor is above this relative difference, the machine is too unsteady for latencies."""
SAME_SPEED = 0.05
"""Where the time of the reference work differs by more than this fraction, a machine ran at two different speeds."""
_RESAMPLES = 4999
_MIN_RUNS_A_ROUND = 5
_MAX_ROUND_S = 2.0


@dataclass(frozen=True)
class Rounds:
    """A protocol says how often an artifact is timed. ``min_queries`` and ``min_duration_s`` count over all rounds."""

    name: ProtocolName
    rounds: int
    runs_a_round: int
    warmup_limit: int
    min_queries: int = 0
    min_duration_s: float = 0.0

    def runs(self, median_ns: float) -> int:
        """Return how many inferences one round has for an artifact with a median latency of ``median_ns``.

        Without a least duration, a round has fewer inferences where it would take longer than 2 s, but at least 5.
        """
        if self.min_duration_s:
            timed = math.ceil(self.min_duration_s / self.rounds / (median_ns / 1e9))
            return max(math.ceil(self.min_queries / self.rounds), timed)
        return max(_MIN_RUNS_A_ROUND, min(self.runs_a_round, int(_MAX_ROUND_S / (median_ns / 1e9))))

    @property
    def description(self) -> str:
        """Describe the protocol in words, for the report."""
        if self.min_duration_s:
            each = (
                f"at least {self.min_queries:,} queries and {self.min_duration_s:g} s of each artifact, single stream"
            )
        else:
            each = f"{self.rounds} rounds of up to {self.runs_a_round} inferences of each artifact"
        return f"{each}, interleaved, after a warm-up until three blocks of 10 agree to 2%"


# "mlperf" keeps the minimum of MLPerf Inference's single-stream scenario, whose metric is p90.
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
    """Return the protocol of this name. Raises InputError with the nearest match where there is none."""
    found = {str(known): rounds for known, rounds in PROTOCOLS.items()}
    if name not in found:
        raise unknown("protocol", name, found)
    return found[name]


@dataclass(frozen=True)
class Started:
    """This record holds what a process measured before its first round. Times are in nanoseconds."""

    load_ns: int
    first_inference_ns: int
    warmup_runs: int
    is_stable: bool


def summarise(
    latencies_ns: Sequence[Sequence[int]], num_threads: int, started: Started, references_ns: Sequence[int] = ()
) -> Latency:
    """Summarise the latencies of all rounds together: mean and percentiles (linear interpolation), in milliseconds.

    ``latencies_ns`` has one list for each round, and each list holds at least one latency. ``references_ns`` has the
    time of the reference work for each round.
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
        reference_ms=float(np.median(references_ns)) / 1e6 if len(references_ns) else None,
    )


def noise_floor(artifact: str, first: Latency, second: Latency) -> NoiseFloor:
    """Return how far two processes of one artifact differed.

    The floor is the distance of 1 from the further end of the 95% interval of their ratio, and at least
    :data:`MIN_FLOOR`.
    """
    ratio, interval = _ratio(first.round_medians_ms, second.round_medians_ms)
    floor = max(MIN_FLOOR, abs(interval.low - 1.0), abs(interval.high - 1.0))
    return NoiseFloor(
        artifact=artifact, num_threads=first.num_threads, ratio=ratio, ratio_interval=interval, floor=floor
    )


def measured_speedup(mine: Latency, against: str, other: Latency, floor: NoiseFloor) -> Speedup:
    """Divide the latency ``other`` by ``mine``; both were timed in the same rounds.

    A difference counts only where the 95% interval excludes 1 and the ratio exceeds the noise floor. The floor is
    relative, so 1 / (1 + floor) <= ratio <= 1 + floor is noise.
    """
    ratio, interval = _ratio(other.round_medians_ms, mine.round_medians_ms)
    verdict: Literal["faster", "slower", "no difference measured"] = "no difference measured"
    if interval.low > 1.0 and ratio > 1.0 + floor.floor:
        verdict = "faster"
    elif interval.high < 1.0 and ratio < 1.0 / (1.0 + floor.floor):
        verdict = "slower"
    return Speedup(against=against, num_threads=mine.num_threads, ratio=ratio, ratio_interval=interval, verdict=verdict)


def _ratio(numerator_ms: Sequence[float], denominator_ms: Sequence[float]) -> tuple[float, Interval]:
    """Return the geometric mean over the rounds of the ratio of their medians, with a 95% interval.

    The interval is a percentile bootstrap over rounds (Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
    chapter 13). Whole rounds are drawn, because the runs of one round share its disturbance. The seed is fixed.
    """
    pairs = list(zip(numerator_ms, denominator_ms, strict=True))
    logs: npt.NDArray[np.float64] = np.log([above / below for above, below in pairs])
    drawn = np.random.default_rng(0).integers(0, len(logs), (_RESAMPLES, len(logs)))
    low, high = np.exp(np.percentile(np.mean(logs[drawn], axis=1), [2.5, 97.5]))
    return float(np.exp(np.mean(logs))), Interval(low=float(low), high=float(high))
