"""Budgets and measurements in, verdicts out."""

from __future__ import annotations

from typing import Literal

from tledge.records import Check, Drift, Latency, MachineRecord
from tledge.verification.targets import Target

MB = 1_000_000


def judge(
    target: Target,
    machine: MachineRecord,
    drift: Drift | None,
    latency: Latency | None,
    size_bytes: int,
    peak_memory_mb: float | None,
) -> list[Check]:
    """One check a budget. What was not measured fails; what can't be measured here is not judged, and says so."""
    budget = target.budget
    elsewhere = _not_this_machine(target, machine)
    return [
        _check(
            "max_accuracy_drop_points",
            budget.max_accuracy_drop_points,
            drift.accuracy_drop_points if drift else None,
            "points against the original on the same photos",
        ),
        _check("max_size_mb", budget.max_size_mb, size_bytes / MB, "file size"),
        _check(
            "max_p95_latency_ms", budget.max_p95_latency_ms, latency.p95_ms if latency else None, "batch 1", elsewhere
        ),
        _check("max_memory_mb", budget.max_memory_mb, peak_memory_mb, "peak of the process", elsewhere),
    ]


def _check(name: str, limit: float, measured: float | None, what: str, not_judged: str = "") -> Check:
    verdict: Literal["passed", "failed", "not judged"]
    if measured is None:
        verdict, what = "failed", "not measured: the artifact did not run to its end"
    elif not_judged:
        verdict, what = "not judged", not_judged
    else:
        verdict = "passed" if measured <= limit else "failed"
    return Check(name=name, limit=limit, measured=measured, verdict=verdict, reason=what)


def _not_this_machine(target: Target, machine: MachineRecord) -> str:
    """Why latency and memory of this machine say nothing about the target; empty where they do."""
    if target.architectures and machine.architecture not in target.architectures:
        return f"measured on {machine.architecture}, and the target is {'/'.join(target.architectures)}"
    if target.cpu_contains and target.cpu_contains.lower() not in machine.cpu.lower():
        return f"measured on {machine.cpu}, and the target is {target.cpu_contains}"
    if machine.logical_cores < target.threads:
        return f"measured on {machine.logical_cores} cores, and the target uses {target.threads} threads"
    return ""


def verdict(checks: list[Check], error: str | None) -> Literal["passed", "failed"]:
    """An artifact passes where nothing went wrong and no check failed."""
    return "failed" if error or any(check.verdict == "failed" for check in checks) else "passed"
