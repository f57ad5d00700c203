"""Jobs for a worker, and small programs that a worker process could be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from tledge.runtimes.worker import Job


def job(folder: Path, artifact: bytes, runtime: str, pixels: np.ndarray, **changes: int) -> Job:
    """A job on ``pixels`` uint8 (N, S, S, 3) with all its files in ``folder``."""
    (folder / "artifact").write_bytes(artifact)
    (folder / "pixels").write_bytes(pixels.tobytes())
    made = Job(
        artifact=str(folder / "artifact"),
        runtime=runtime,
        num_threads=1,
        pixels=str(folder / "pixels"),
        num_photos=len(pixels),
        input_size=pixels.shape[1],
        warmup_runs=2,
        min_timed_runs=5,
        outputs=str(folder / "outputs.npy"),
        result=str(folder / "result.json"),
    )
    return replace(made, **changes)
