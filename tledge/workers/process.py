"""This module starts worker processes, sends them commands, and finds out how they ended."""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from tledge.errors import ArtifactError, InputError
from tledge.search_paths import safe_environment
from tledge.workers.worker import Job

_LAST_LINES = 3
_LAST_BYTES = 20_000
# A traceback is cut to the lines that it ends with: the lines of code in it are indented. Libraries log what they do.
_BESIDE_THE_POINT = re.compile(r" |Traceback |INFO:|WARNING:|[IWE]\d{4} ")
_LONGEST_WAIT_S = 1e6  # These are eleven days. The system call that waits takes no more than 24.
_MAX_ANSWER_BYTES = 10_000_000  # A worker that a model took over could write for ever.
# These words are Python's, C++'s and TensorFlow's for an allocation that failed.
_NO_MEMORY = ("MemoryError", "bad_alloc", "ResourceExhaustedError", "OOM when allocating", "Cannot allocate memory")
ARTIFACT, ORIGINAL = "tledge.workers.worker", "tledge.workers.original"


class WorkerFailed(Exception):
    """A worker crashed, ran out of time, or raised; the message says which. This is a result, not a bug."""


class OutOfMemory(WorkerFailed):
    """A worker ended for lack of memory, as far as can be told."""


class WorkerProcess:
    """A ``WorkerProcess`` runs ``python -m module`` on a job. It is a context, at whose end the process is gone.

    The process gets no accelerator, and no modules of the working directory.
    """

    def __init__(self, module: str, job: Job, folder: Path) -> None:
        self.job, self._module = job, module
        self._own = tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True)  # all that it may write
        self.folder = Path(self._own.name)
        asked = self.folder / "job.json"
        asked.write_text(json.dumps(asdict(job)), encoding="utf-8")
        self._said: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed at the end of the context
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, str(asked), str(os.getpid())],
            env=safe_environment(CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="2", TMPDIR=self._own.name),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
        )
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._said):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):  # a command that it never read
                    stream.close()
        self._own.cleanup()

    def kill(self) -> None:
        """End the process at once. Whoever waits for its answer gets WorkerFailed."""
        self._process.kill()

    def call(self, command: str, timeout_s: float, **arguments: int | str) -> dict[str, Any]:
        """Send one command and return its answer, a JSON object.

        Raises WorkerFailed where no readable answer comes within ``timeout_s``, InputError where the original is
        refused, and ArtifactError where it is damaged.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": command, **arguments}).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._how_it_ended() from None
        try:
            answer = json.loads(self._line(timeout_s))
        except ValueError as error:
            raise WorkerFailed("the process gave no readable answer") from error
        if not isinstance(answer, dict):
            raise WorkerFailed("the process gave no readable answer")
        if self._module == ORIGINAL and isinstance(refused := answer.get("refused"), str):
            raise InputError(refused)
        if self._module == ORIGINAL and isinstance(damaged := answer.get("damaged"), str):
            raise ArtifactError(damaged)
        return answer

    def _line(self, timeout_s: float) -> bytes:
        assert self._process.stdout is not None
        deadline = time.monotonic() + min(timeout_s, _LONGEST_WAIT_S)
        line = b""
        with selectors.DefaultSelector() as ready:
            ready.register(self._process.stdout, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not ready.select(max(0.0, deadline - time.monotonic())):
                    raise WorkerFailed(f"no answer within {timeout_s:.0f} s")
                part = os.read(self._process.stdout.fileno(), 1 << 16)
                if not part:
                    raise self._how_it_ended()
                line += part
                if len(line) > _MAX_ANSWER_BYTES:
                    raise WorkerFailed("the process answered without end")
        return line

    def _how_it_ended(self) -> WorkerFailed:
        try:
            code = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            return WorkerFailed("the process closed its output without an answer")
        if code == -signal.SIGKILL:
            return OutOfMemory("the process was ended by SIGKILL, as systems do where memory is short")
        self._said.seek(max(0, self._said.seek(0, os.SEEK_END) - _LAST_BYTES))
        said = self._said.read().decode(errors="replace").splitlines()
        if code and any(word in line for line in said for word in _NO_MEMORY):
            return OutOfMemory("the process took more memory than there is, or than its limit")
        if code < 0:
            return WorkerFailed(f"the process was ended by {_signal_name(-code)}")
        lines = [line for line in said if line.strip() and not _BESIDE_THE_POINT.match(line)]
        # A native library can end the process with exit code 0.
        shown = "; ".join(lines[-_LAST_LINES:]) if code and lines else f"the process ended with exit code {code}"
        return WorkerFailed(shown)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # most real-time signals have no name
        return f"signal {number}"
