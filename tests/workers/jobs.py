"""Jobs for a worker process, and what it does with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tledge.workers.process import ARTIFACT, WorkerProcess
from tledge.workers.worker import Job


def job(folder: Path, artifact: bytes, runtime: str, pixels: np.ndarray, **changes: Any) -> Job:
    """A job on ``pixels`` uint8 (N, S, S, 3) with all its files in ``folder``."""
    (folder / "artifact").write_bytes(artifact)
    (folder / "pixels").write_bytes(pixels.tobytes())
    made = Job(
        artifact=str(folder / "artifact"),
        runtime=runtime,
        kernels="",
        num_threads=1,
        cores=[],
        pixels=str(folder / "pixels"),
        num_photos=len(pixels),
        input_size=pixels.shape[1],
        outputs=str(folder / "outputs"),
    )
    return replace(made, **changes)


def told(made: Job, folder: Path, *commands: tuple[str, dict[str, int]], timeout_s: float = 60) -> list[dict[str, Any]]:
    """The answers of an artifact's worker that loads its artifact and then does ``commands``."""
    with WorkerProcess(ARTIFACT, made, folder) as process:
        return [process.call(name, timeout_s, **arguments) for name, arguments in (("load", {}), *commands)]
