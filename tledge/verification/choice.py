"""Which artifact to ship: the best one that keeps every budget, and why each other one lost."""

from __future__ import annotations

from collections.abc import Sequence

from tledge.records import Choice, Lost, Row

RULE = (
    "of those that keep every budget, and whose p95 latency is the lowest but for noise: the smallest file, "
    "then the smallest drop"
)


def choose(rows: Sequence[Row], noise: float = 0.0) -> Choice:
    """The best of ``rows`` by :data:`RULE`. ``noise``: relative differences of latency up to it mean nothing.

    Where latency was not measured, size decides.
    """
    good = [row for row in rows if row.verdict != "failed"]
    if not good:
        return Choice(best=None, reason="no artifact keeps every budget", others=[_failed(row) for row in rows])
    limit_ms = min(_p95_ms(row) for row in good) * (1 + noise)
    best = min((row for row in good if _p95_ms(row) <= limit_ms), key=_order)
    others = [
        _failed(row) if row.verdict == "failed" else _beaten(row, best, limit_ms) for row in rows if row is not best
    ]
    return Choice(best=best.artifact, reason=RULE, others=others)


def _p95_ms(row: Row) -> float:
    return row.latency.p95_ms if row.latency else 0.0


def _order(row: Row) -> tuple[int, float]:
    return row.size_bytes, row.drift.accuracy_drop_points if row.drift else 0.0


def _failed(row: Row) -> Lost:
    reasons = [f"{check.name}: {check.reason}" for check in row.checks if check.verdict == "failed"]
    return Lost(artifact=row.artifact, reason="; ".join(reasons))


def _beaten(row: Row, best: Row, limit_ms: float) -> Lost:
    if _p95_ms(row) > limit_ms:
        return Lost(artifact=row.artifact, reason=f"p95 {_p95_ms(row):.2f} ms against {_p95_ms(best):.2f} ms")
    if row.size_bytes > best.size_bytes:
        return Lost(
            artifact=row.artifact, reason=f"{row.size_bytes / 1e6:.3f} MB against {best.size_bytes / 1e6:.3f} MB"
        )
    return Lost(artifact=row.artifact, reason="a larger drop")
