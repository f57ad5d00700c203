"""Records for the tests of gates and choices: drifts are computed, by the code that verify uses."""

from __future__ import annotations

import numpy as np

from tledge.bench.latency import Started, summarise
from tledge.records import Check, Drift, Latency, MachineRecord, Row
from tledge.verification.drift import drift

HERE = MachineRecord(
    cpu="Some CPU",
    architecture="x86_64",
    logical_cores=8,
    system="Linux",
    python="3.11",
    cpu_flags=["avx2"],
    governor=None,
    load_average=0.0,
)


def a_drift(right_to_wrong: int = 0, wrong_to_right: int = 0, num_photos: int = 1000) -> Drift:
    """Of an original that is right on nine photos of ten, and an artifact that flips so many."""
    labels = np.arange(num_photos) % 2
    before, after = labels.copy(), labels.copy()
    wrong = np.arange(num_photos) < num_photos // 10
    before[wrong], after[wrong] = 1 - labels[wrong], 1 - labels[wrong]
    after[:wrong_to_right] = labels[:wrong_to_right]
    after[num_photos - right_to_wrong :] = 1 - labels[num_photos - right_to_wrong :]

    def sure(classes: np.ndarray) -> np.ndarray:
        return np.where(classes[:, None] == np.arange(2), 0.9, 0.1)

    return drift(labels, sure(before), sure(after), ["cat", "dog"])


def a_latency(p95_ms: float = 5.0, num_threads: int = 2) -> Latency:
    """The same in every run."""
    return summarise([[int(p95_ms * 1e6)] * 5] * 4, num_threads, Started(1, 1, 30, True))


def a_row(name: str, p95_ms: float | None = 5.0, size_bytes: int = 1_000_000, failed: str = "", drop: int = 0) -> Row:
    """A row on litert with one check; ``failed``: why it failed."""
    check = Check(
        name="runs", limit=None, measured=None, verdict="failed" if failed else "passed", reason=failed or "ok"
    )
    return Row(
        format=name,
        runtime="litert",
        file="model.tflite",
        sha256="",
        size_bytes=size_bytes,
        audit=None,
        peak_memory_mb=None,
        latency=None if p95_ms is None else a_latency(p95_ms),
        thread_sweep=[],
        speedups=[],
        drift=a_drift(right_to_wrong=drop),
        checks=[check],
        warnings=[],
        error=failed or None,
        verdict="failed" if failed else "passed",
    )
