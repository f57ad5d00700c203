"""Budgets and measurements in, verdicts out."""

from __future__ import annotations

import platform

import pytest

from tledge.machine import this_machine
from tledge.records import Check, MachineRecord
from tledge.verification import targets
from tledge.verification.gate import budget_checks, overall, promise_gate, ran, unread_gates, verdict_of

from .samples import HERE, a_drift, a_latency

CPU = targets.load("cpu")  # 1 point, 50 ms, 100 MB, 500 MB


def checks(target: targets.Target = CPU, machine: MachineRecord = HERE, **measured: object) -> dict[str, Check]:
    values = {
        "drift": a_drift(),
        "latency": a_latency(50.0),
        "size_bytes": 20_000_000,
        "peak_memory_mb": 500.0,
        "must_certify": False,
        "timed": True,
        **measured,
    }
    return {check.name: check for check in budget_checks(target, machine, **values)}  # type: ignore[arg-type]


def verdicts(target: targets.Target = CPU, machine: MachineRecord = HERE, **measured: object) -> dict[str, str]:
    return {name: check.verdict for name, check in checks(target, machine, **measured).items()}


def test_a_measurement_that_equals_its_limit_passes() -> None:
    found = verdicts(drift=a_drift(right_to_wrong=10), size_bytes=100_000_000)
    assert found.pop("max_accuracy_drop_points") == "passed"  # inside, and its upper bound is not
    assert set(found.values()) == {"passed"}


@pytest.mark.parametrize(
    ("name", "measured"),
    [
        ("max_accuracy_drop_points", {"drift": a_drift(right_to_wrong=11)}),
        ("max_p95_latency_ms", {"latency": a_latency(50.1)}),
        ("max_size_mb", {"size_bytes": 100_000_001}),
        ("max_memory_mb", {"peak_memory_mb": 500.1}),
    ],
)
def test_one_measurement_over_its_limit_fails_that_check_only(name: str, measured: dict[str, object]) -> None:
    found = verdicts(**measured)
    assert [check for check, value in found.items() if value == "failed"] == [name]


def test_a_three_point_loss_is_failed_by_the_accuracy_gate_and_said_to_be_significant() -> None:
    check = checks(drift=a_drift(right_to_wrong=30))["max_accuracy_drop_points"]
    assert (check.verdict, check.measured) == ("failed", 3.0)
    assert "significant" in check.reason


def test_no_loss_on_enough_photos_is_certified_and_on_few_it_is_passed() -> None:
    assert verdicts(drift=a_drift(num_photos=1000))["max_accuracy_drop_points"] == "certified"
    assert verdicts(drift=a_drift(num_photos=100))["max_accuracy_drop_points"] == "passed"


def test_where_certainty_is_asked_for_a_mere_pass_fails_and_names_the_photos_it_needs() -> None:
    check = checks(drift=a_drift(num_photos=100), must_certify=True)["max_accuracy_drop_points"]
    assert check.verdict == "failed"
    assert "more" in check.reason
    assert verdicts(drift=a_drift(num_photos=1000), must_certify=True)["max_accuracy_drop_points"] == "certified"


def test_what_was_not_measured_fails_and_size_is_still_judged() -> None:
    found = verdicts(drift=None, latency=None, peak_memory_mb=None)
    assert found == {
        "max_accuracy_drop_points": "failed",
        "max_size_mb": "passed",
        "max_p95_latency_ms": "failed",
        "max_memory_mb": "failed",
    }


def test_what_was_not_to_be_measured_is_not_judged() -> None:
    found = verdicts(latency=None, peak_memory_mb=None, timed=False)
    assert found["max_p95_latency_ms"] == found["max_memory_mb"] == "not judged"


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
        assert (found["max_accuracy_drop_points"], found["max_size_mb"]) == ("certified", "passed")


@pytest.mark.skipif(platform.machine() == "aarch64", reason="on the board's own architecture it may be judged")
@pytest.mark.parametrize("name", [name for name in targets.names() if targets.load(name).architectures])
def test_this_machine_never_passes_a_board(name: str) -> None:
    found = verdicts(targets.load(name), this_machine())
    assert found["max_p95_latency_ms"] == found["max_memory_mb"] == "not judged"


def test_fewer_cores_than_threads_are_not_judged_and_the_reason_says_so() -> None:
    check = checks(machine=HERE.model_copy(update={"logical_cores": 1}))["max_p95_latency_ms"]
    assert (check.verdict, check.reason) == ("not judged", "measured on 1 cores, and the target uses 2 threads")


def test_one_failed_gate_of_any_kind_fails_the_artifact_and_not_judged_does_not() -> None:
    good = list(checks().values())
    assert verdict_of(good) == "certified"
    assert verdict_of(list(checks(targets.load("raspberry-pi-4")).values())) == "certified"
    assert verdict_of([*good, ran("it crashed")]) == "failed"
    assert verdict_of([*good, promise_gate("promise", ["float operators: ADD"], "all-integer")]) == "failed"
    assert verdict_of([*good, ran(None), promise_gate("promise", [], "all-integer")]) == "certified"
    assert verdict_of(list(checks(drift=a_drift(num_photos=100)).values())) == "passed"


def test_an_artifact_whose_record_can_not_be_read_has_the_gates_of_the_others_and_none_is_judged() -> None:
    other = [promise_gate("promise", [], ""), promise_gate("contract", [], ""), *checks().values()]
    found = unread_gates(CPU)
    assert [check.name for check in found] == [check.name for check in other]
    assert [check.limit for check in found] == [check.limit for check in other]
    assert {check.verdict for check in found} == {"not judged"}
    assert {check.reason for check in found} == {"the artifact does not run: its record can't be read"}


def test_the_overall_verdict_is_the_worst() -> None:
    assert overall(["certified", "passed", "failed"]) == "failed"
    assert overall(["certified", "passed"]) == "passed"
    assert overall(["certified", "certified"]) == "certified"
    assert overall([]) == "failed"  # nothing was shown to hold
