"""This module compares measurements with budgets and promises and returns verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from tledge.records import Check, Drift, Latency, MachineRecord
from tledge.verification.certification import accuracy_check
from tledge.verification.targets import Target

MB = 1_000_000
BUDGETS = ("max_accuracy_drop_points", "max_size_mb", "max_p95_latency_ms", "max_memory_mb")
Verdict = Literal["certified", "passed", "failed"]


def ran(error: str | None) -> Check:
    """Return the gate ``runs``, which fails with ``error`` as its reason.

    It passes where the artifact is whole and answered every photo with a finite number for each class.
    """
    if error:
        return Check(name="runs", limit=None, measured=None, verdict="failed", reason=error)
    return Check(name="runs", limit=None, measured=None, verdict="passed", reason="answers every test photo")


def promise_gate(name: str, problems: Sequence[str], promise: str) -> Check:
    """Return a gate on what the file holds. It fails where ``problems`` says how file and promise differ."""
    if problems:
        return Check(name=name, limit=None, measured=None, verdict="failed", reason="; ".join(problems))
    return Check(name=name, limit=None, measured=None, verdict="passed", reason=promise)


def unread_gates(target: Target) -> list[Check]:
    """Return every gate but ``runs``, not judged, for an artifact whose record can't be read.

    With them its row has the same gates as the other rows.
    """
    why = "the artifact does not run: its record can't be read"
    limits = {"promise": None, "contract": None, **{name: getattr(target.budget, name) for name in BUDGETS}}
    return [
        Check(name=name, limit=limit, measured=None, verdict="not judged", reason=why) for name, limit in limits.items()
    ]


def budget_checks(
    target: Target,
    machine: MachineRecord,
    drift: Drift | None,
    latency: Latency | None,
    size_bytes: int,
    peak_memory_mb: float | None,
    *,
    must_certify: bool,
    timed: bool,
) -> list[Check]:
    """Return one check for each budget, in the order of :data:`BUDGETS`.

    A check fails where the artifact did not run to its end. Latency and memory are not judged where this machine says
    nothing about the target, or where ``timed`` is False because they were not to be measured; the check says why.
    """
    budget = target.budget
    elsewhere = _not_this_machine(target, machine) if timed else "not measured: accuracy only"
    threads = f"batch 1, {target.threads} thread{'s' if target.threads > 1 else ''}"
    return [
        accuracy_check(drift, budget.max_accuracy_drop_points, must_certify)
        if drift
        else _check("max_accuracy_drop_points", budget.max_accuracy_drop_points, None, "points"),
        _check("max_size_mb", budget.max_size_mb, size_bytes / MB, "MB, file size"),
        _check(
            "max_p95_latency_ms",
            budget.max_p95_latency_ms,
            latency.p95_ms if latency else None,
            f"ms, {threads}",
            elsewhere,
        ),
        _check("max_memory_mb", budget.max_memory_mb, peak_memory_mb, "MB, peak of the process", elsewhere),
    ]


def _check(name: str, limit: float, measured: float | None, what: str, not_judged: str = "") -> Check:
    if not_judged:
        return Check(name=name, limit=limit, measured=measured, verdict="not judged", reason=not_judged)
    if measured is None:
        reason = "not measured: the artifact did not run to its end"
        return Check(name=name, limit=limit, measured=None, verdict="failed", reason=reason)
    inside = measured <= limit
    reason = f"{measured:.4g} {what}: {'inside' if inside else 'over'} the budget of {limit:g}"
    return Check(name=name, limit=limit, measured=measured, verdict="passed" if inside else "failed", reason=reason)


def _not_this_machine(target: Target, machine: MachineRecord) -> str:
    """Say why latency and memory of this machine tell nothing about the target; return an empty text where they do."""
    if target.architectures and machine.architecture not in target.architectures:
        return f"measured on {machine.architecture}, and the target is {'/'.join(target.architectures)}"
    if target.cpu_contains and target.cpu_contains.lower() not in machine.cpu.lower():
        return f"measured on {machine.cpu}, and the target is {target.cpu_contains}"
    if machine.logical_cores < target.threads:
        return f"measured on {machine.logical_cores} cores, and the target uses {target.threads} threads"
    return ""


def verdict_of(checks: Sequence[Check]) -> Verdict:
    """Return failed where a check failed, certified where the drop is certified and nothing failed, else passed."""
    if any(check.verdict == "failed" for check in checks):
        return "failed"
    return "certified" if any(check.verdict == "certified" for check in checks) else "passed"


def overall(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the worst of the artifacts' verdicts, and failed where there is none."""
    if "failed" in verdicts or not verdicts:
        return "failed"
    return "certified" if set(verdicts) == {"certified"} else "passed"
