"""Latencies summarised and compared: what is told apart, and what is noise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tledge.bench.latency import (
    MIN_FLOOR,
    PROTOCOLS,
    Started,
    measured_speedup,
    noise_floor,
    protocol,
    summarise,
)
from tledge.errors import InputError
from tledge.records import Interval, Latency, NoiseFloor

STARTED = Started(load_ns=5_000_000, first_inference_ns=2_000_000, warmup_runs=30, is_stable=True)


def _rounds(rng: np.random.Generator, median_ms: float, noise: float = 0.03, rounds: int = 25) -> Latency:
    """A latency whose rounds are disturbed by ``noise``, relatively, and their runs by as much again."""
    disturbed = median_ms * np.exp(noise * rng.standard_normal(rounds))
    runs = disturbed[:, None] * np.exp(noise * np.abs(rng.standard_normal((rounds, 20))))
    return summarise((runs * 1e6).astype(int).tolist(), 1, STARTED)


def test_percentiles_are_those_of_all_runs_and_in_milliseconds() -> None:
    latency = summarise([[1_000_000, 2_000_000], [3_000_000, 4_000_000, 5_000_000]], 2, STARTED)
    assert (latency.p50_ms, latency.mean_ms, latency.runs, latency.rounds) == (3.0, 3.0, 5, 2)
    assert latency.p90_ms == pytest.approx(4.6)  # linear interpolation between ranks
    assert latency.p99_ms == pytest.approx(4.96)
    assert latency.iqr_ms == pytest.approx(stats.iqr([1, 2, 3, 4, 5]))
    assert latency.round_medians_ms == [1.5, 4.0]
    assert (latency.quantiles_ms[0], latency.quantiles_ms[10], latency.quantiles_ms[20]) == (1.0, 3.0, 5.0)
    assert (latency.load_ms, latency.first_inference_ms, latency.num_threads) == (5.0, 2.0, 2)


def test_an_artifact_compared_with_itself_is_rarely_called_different() -> None:
    rng = np.random.default_rng(1)
    called = 0
    for _ in range(200):
        floor = noise_floor("a", _rounds(rng, 4.0), _rounds(rng, 4.0))
        called += measured_speedup(_rounds(rng, 4.0), "a", _rounds(rng, 4.0), floor).verdict != "no difference measured"
    assert called <= 10


@pytest.mark.parametrize(
    ("mine", "other", "verdict"), [(2.0, 4.0, "faster"), (4.0, 2.0, "slower"), (4.0, 4.4, "faster")]
)
def test_a_real_difference_is_measured(mine: float, other: float, verdict: str) -> None:
    rng = np.random.default_rng(2)
    floor = noise_floor("a", _rounds(rng, 4.0), _rounds(rng, 4.0))
    found = measured_speedup(_rounds(rng, mine), "b", _rounds(rng, other), floor)
    assert found.verdict == verdict
    assert found.ratio == pytest.approx(other / mine, rel=0.05)
    assert found.ratio_interval.low < other / mine < found.ratio_interval.high


def test_a_clear_difference_inside_the_noise_floor_is_no_difference() -> None:
    rng = np.random.default_rng(3)
    mine, other = _rounds(rng, 4.0, noise=0.001), _rounds(rng, 4.2, noise=0.001)
    quiet = NoiseFloor(artifact="a", num_threads=1, ratio=1.0, ratio_interval=Interval(low=1.0, high=1.0), floor=0.03)
    assert measured_speedup(mine, "b", other, quiet).verdict == "faster"
    loud = quiet.model_copy(update={"floor": 0.06})
    assert measured_speedup(mine, "b", other, loud).verdict == "no difference measured"
    assert measured_speedup(other, "b", mine, loud).verdict == "no difference measured"  # either way round


def test_an_unsteady_machine_measures_no_small_difference() -> None:
    rng = np.random.default_rng(4)
    unsteady = noise_floor("a", _rounds(rng, 4.0, noise=0.5), _rounds(rng, 4.0, noise=0.5))
    assert unsteady.floor > MIN_FLOOR
    assert (
        measured_speedup(_rounds(rng, 4.0, 0.5), "b", _rounds(rng, 4.1, 0.5), unsteady).verdict
        == "no difference measured"
    )


def test_the_noise_floor_is_the_further_end_of_the_interval_and_never_below_its_minimum() -> None:
    one = summarise([[100] * 5] * 10, 1, STARTED)
    assert noise_floor("a", one, one).floor == MIN_FLOOR
    apart = noise_floor("a", summarise([[110] * 5] * 10, 1, STARTED), one)
    assert apart.ratio == pytest.approx(1.1)
    assert apart.floor == pytest.approx(0.1)


def test_the_interval_covers_the_true_ratio_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    quiet = NoiseFloor(artifact="a", num_threads=1, ratio=1.0, ratio_interval=Interval(low=1.0, high=1.0), floor=0.03)
    covered = 0
    for _ in range(300):
        found = measured_speedup(_rounds(rng, 2.0), "b", _rounds(rng, 3.0), quiet)
        covered += found.ratio_interval.low <= 1.5 <= found.ratio_interval.high
    assert 0.90 <= covered / 300 <= 0.98  # a percentile bootstrap of 25 rounds is a little too narrow


def test_the_same_rounds_give_the_same_interval() -> None:
    rng = np.random.default_rng(6)
    mine, other = _rounds(rng, 2.0), _rounds(rng, 3.0)
    floor = noise_floor("a", mine, mine)
    assert measured_speedup(mine, "b", other, floor) == measured_speedup(mine, "b", other, floor)


def test_mlperf_asks_for_1024_queries_and_60_seconds_of_every_artifact() -> None:
    rounds = PROTOCOLS["mlperf"]
    for median_ms in (0.5, 4.0, 500.0):
        runs = rounds.rounds * rounds.runs(median_ms * 1e6)
        assert runs >= 1024
        assert runs * median_ms >= 60_000


def test_a_slow_artifact_gets_fewer_runs_a_round_but_never_none() -> None:
    rounds = PROTOCOLS["standard"]
    assert rounds.runs(1e6) == 20
    assert rounds.runs(400e6) == 5
    assert rounds.runs(60e9) == 5


def test_an_unknown_protocol_offers_the_nearest() -> None:
    with pytest.raises(InputError, match="quick"):
        protocol("quik")
