"""Which artifact to ship: the best one that keeps every budget, and why each other one lost."""

from __future__ import annotations

from collections.abc import Sequence

from tledge.records import Choice, Lost, Row

RULE = "of those that keep every budget: the lowest p95 latency, then the smallest file, then the smallest drop"


def choose(rows: Sequence[Row]) -> Choice:
    """The best of ``rows`` by :data:`RULE`; where latency was not measured, the smallest file."""
    good = [row for row in rows if row.verdict != "failed"]
    if not good:
        return Choice(best=None, reason="no artifact keeps every budget", others=[_failed(row) for row in rows])
    best = min(good, key=_order)
    others = [_failed(row) if row.verdict == "failed" else _beaten(row, best) for row in rows if row is not best]
    return Choice(best=best.artifact, reason=RULE, others=others)


def _order(row: Row) -> tuple[float, int, float]:
    latency = row.latency.p95_ms if row.latency else 0.0
    return latency, row.size_bytes, row.drift.accuracy_drop_points if row.drift else 0.0


def _failed(row: Row) -> Lost:
    reasons = [f"{check.name}: {check.reason}" for check in row.checks if check.verdict == "failed"]
    return Lost(artifact=row.artifact, reason="; ".join(reasons))


def _beaten(row: Row, best: Row) -> Lost:
    if row.latency and best.latency and row.latency.p95_ms > best.latency.p95_ms:
        return Lost(
            artifact=row.artifact, reason=f"p95 {row.latency.p95_ms:.2f} ms against {best.latency.p95_ms:.2f} ms"
        )
    if row.size_bytes > best.size_bytes:
        return Lost(
            artifact=row.artifact, reason=f"{row.size_bytes / 1e6:.3f} MB against {best.size_bytes / 1e6:.3f} MB"
        )
    return Lost(artifact=row.artifact, reason="a larger drop")
