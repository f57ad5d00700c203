"""This module chooses the artifact to ship: the best one that keeps every budget. It says why each other one lost."""

from __future__ import annotations

from collections.abc import Sequence

from tledge.records import Choice, Lost, Row

_TIES = "the smallest file, then the smallest drop"
RULE = f"of those that keep every budget, and whose median latency is the lowest but for noise: {_TIES}"
RULE_WITHOUT_LATENCY = f"of those that keep every budget that was judged: {_TIES}; latency was not judged"


def choose_best(rows: Sequence[Row], noise: float = 0.0) -> Choice:
    """Choose the best of ``rows`` by :data:`RULE`, and say why each other one lost.

    Relative differences of latency up to ``noise`` do not count. Where latency was not measured, or says nothing about
    the target, size decides.
    """
    good = [row for row in rows if row.verdict != "failed"]
    if not good:
        return Choice(best=None, reason="no artifact keeps every budget", others=[_failed(row) for row in rows])
    limit_ms = min(_judged_ms(row) for row in good) * (1 + noise)
    best = min((row for row in good if _judged_ms(row) <= limit_ms), key=_order)
    others = [
        _failed(row) if row.verdict == "failed" else _beaten(row, best, limit_ms) for row in rows if row is not best
    ]
    return Choice(best=best.artifact, reason=RULE if _judged_ms(best) else RULE_WITHOUT_LATENCY, others=others)


def _judged_ms(row: Row) -> float:
    """Return the median latency in milliseconds, or 0 where latency was not measured or not judged."""
    not_judged = any(check.name == "max_p95_latency_ms" and check.verdict == "not judged" for check in row.checks)
    return row.latency.p50_ms if row.latency and not not_judged else 0.0


def _order(row: Row) -> tuple[int, float]:
    return row.size_bytes, row.drift.accuracy_drop_points if row.drift else 0.0


def _failed(row: Row) -> Lost:
    reasons = [f"{check.name}: {check.reason}" for check in row.checks if check.verdict == "failed"]
    return Lost(artifact=row.artifact, reason="; ".join(reasons))


def _beaten(row: Row, best: Row, limit_ms: float) -> Lost:
    if _judged_ms(row) > limit_ms:
        return Lost(artifact=row.artifact, reason=f"p50 {_judged_ms(row):.2f} ms against {_judged_ms(best):.2f} ms")
    if row.size_bytes > best.size_bytes:
        return Lost(
            artifact=row.artifact, reason=f"{row.size_bytes / 1e6:.3f} MB against {best.size_bytes / 1e6:.3f} MB"
        )
    return Lost(artifact=row.artifact, reason="as small, and no smaller drop")
