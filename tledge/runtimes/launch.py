"""Start a worker process and hear how it ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

_LAST_LINES = 3


class WorkerFailed(Exception):
    """A worker crashed, ran out of time, or raised; the message says which. A result, not a bug."""


def run_worker(module: str, job: dict[str, Any], job_file: Path, result_file: Path, timeout_s: float) -> dict[str, Any]:
    """Run ``python -m module job_file OUR_PID`` and return the JSON it wrote to ``result_file``.

    The worker gets no accelerator and, with -P, no modules of the working directory.
    Raises WorkerFailed where it does not end well within ``timeout_s``.
    """
    job_file.write_text(json.dumps(job))
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    with subprocess.Popen(
        [sys.executable, "-P", "-m", module, str(job_file), str(os.getpid())],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as process:
        try:
            _, said = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise WorkerFailed(f"no answer within {timeout_s:.0f} s") from None
        finally:
            if process.poll() is None:
                process.kill()
    if process.returncode < 0:
        raise WorkerFailed(f"the process was ended by {_signal_name(-process.returncode)}")
    if process.returncode:
        lines = [line for line in said.strip().splitlines() if line.strip()]
        raise WorkerFailed("; ".join(lines[-_LAST_LINES:]) or f"exit code {process.returncode}")
    try:
        result: dict[str, Any] = json.loads(result_file.read_text())
    except (OSError, ValueError) as error:  # a native library can end the process, and with exit code 0
        raise WorkerFailed("the process ended without a whole result") from error
    return result


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # most real-time signals have no name
        return f"signal {number}"
