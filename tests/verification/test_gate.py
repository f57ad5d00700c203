"""Budgets and measurements in, verdicts out."""

from __future__ import annotations

import platform

import pytest

from tledge.machine import this_machine
from tledge.records import Drift, Latency, MachineRecord
from tledge.verification import targets
from tledge.verification.gate import judge, verdict

HERE = MachineRecord(cpu="Some CPU", architecture="x86_64", logical_cores=8, system="Linux", python="3.11")
DRIFT = Drift(
    num_photos=100,
    accuracy=0.9,
    accuracy_drop_points=1.0,
    agreement=0.99,
    flips_right_to_wrong=1,
    flips_wrong_to_right=0,
    flips_wrong_to_wrong=0,
    max_abs_probability_difference=0.1,
    mean_abs_probability_difference=0.01,
)
LATENCY = Latency(p50_ms=1, p90_ms=2, p95_ms=50.0, p99_ms=900, mean_ms=2, runs=200, warmup_runs=20, num_threads=2)
CPU = targets.load("cpu")  # 1 point, 50 ms, 20 MB, 500 MB


def verdicts(target: targets.Target = CPU, machine: MachineRecord = HERE, **measured: object) -> dict[str, str]:
    values = {"drift": DRIFT, "latency": LATENCY, "size_bytes": 20_000_000, "peak_memory_mb": 500.0, **measured}
    return {check.name: check.verdict for check in judge(target, machine, **values)}  # type: ignore[arg-type]


def test_a_measurement_that_equals_its_limit_passes() -> None:
    assert set(verdicts().values()) == {"passed"}


@pytest.mark.parametrize(
    ("name", "measured"),
    [
        ("max_accuracy_drop_points", {"drift": DRIFT.model_copy(update={"accuracy_drop_points": 1.01})}),
        ("max_p95_latency_ms", {"latency": LATENCY.model_copy(update={"p95_ms": 50.1})}),
        ("max_size_mb", {"size_bytes": 20_000_001}),
        ("max_memory_mb", {"peak_memory_mb": 500.1}),
    ],
)
def test_one_measurement_over_its_limit_fails_that_check_only(name: str, measured: dict[str, object]) -> None:
    found = verdicts(**measured)
    assert [check for check, value in found.items() if value == "failed"] == [name]


def test_an_artifact_that_gained_accuracy_passes() -> None:
    assert set(verdicts(drift=DRIFT.model_copy(update={"accuracy_drop_points": -5.0})).values()) == {"passed"}


def test_what_was_not_measured_fails_and_size_is_still_judged() -> None:
    found = verdicts(drift=None, latency=None, peak_memory_mb=None)
    assert found == {
        "max_accuracy_drop_points": "failed",
        "max_size_mb": "passed",
        "max_p95_latency_ms": "failed",
        "max_memory_mb": "failed",
    }


@pytest.mark.parametrize("name", ["raspberry-pi-4", "raspberry-pi-5"])
@pytest.mark.parametrize("cpu", ["Some CPU", "Raspberry Pi 4 Model B Rev 1.4", "Raspberry Pi 5 Model B Rev 1.0"])
def test_a_board_judges_latency_and_memory_on_itself_only(name: str, cpu: str) -> None:
    target = targets.load(name)
    for architecture in ("x86_64", "aarch64"):
        machine = HERE.model_copy(update={"cpu": cpu, "architecture": architecture, "logical_cores": 4})
        found = verdicts(target, machine)
        itself = architecture == "aarch64" and target.cpu_contains in cpu
        for check in ("max_p95_latency_ms", "max_memory_mb"):
            assert found[check] == ("passed" if itself else "not judged")
        assert found["max_accuracy_drop_points"] == found["max_size_mb"] == "passed"


@pytest.mark.skipif(platform.machine() == "aarch64", reason="on the board's own architecture it may be judged")
@pytest.mark.parametrize("name", [name for name in targets.names() if targets.load(name).architectures])
def test_this_machine_never_passes_a_board(name: str) -> None:
    found = verdicts(targets.load(name), this_machine())
    assert found["max_p95_latency_ms"] == found["max_memory_mb"] == "not judged"


def test_fewer_cores_than_threads_are_not_judged_and_the_reason_says_so() -> None:
    machine = HERE.model_copy(update={"logical_cores": 1})
    (check,) = [c for c in judge(CPU, machine, DRIFT, LATENCY, 1, 1.0) if c.name == "max_p95_latency_ms"]
    assert (check.verdict, check.reason) == ("not judged", "measured on 1 cores, and the target uses 2 threads")


def test_an_error_or_one_failed_check_fails_the_artifact_and_not_judged_does_not() -> None:
    passing = judge(CPU, HERE, DRIFT, LATENCY, 1, 1.0)
    elsewhere = judge(targets.load("raspberry-pi-4"), HERE, DRIFT, LATENCY, 1, 1.0)
    failing = judge(CPU, HERE, DRIFT, LATENCY, 10**9, 1.0)
    assert verdict(passing, None) == "passed"
    assert verdict(elsewhere, None) == "passed"
    assert verdict(failing, None) == "failed"
    assert verdict(passing, "it crashed") == "failed"
