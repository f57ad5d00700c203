"""This module runs a stage of the Python API in a process of its own, and passes on what the stage tells.

The request is pickled, as it comes from the caller. The answers are JSON: the process may open a model from elsewhere,
so nothing that it sends is unpickled.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any

from tledge import errors
from tledge.errors import EnvironmentFault, TledgeError
from tledge.progress import Advance, Progress
from tledge.search_paths import safe_environment
from tledge.signals import TIDY_UP_S

_LAST_BYTES, _LAST_LINES = 20_000, 3


class _Stopped(Exception):
    """The stage raised an error inside this step."""


def call_stage(stage: str, arguments: Mapping[str, Any], progress: Progress) -> Any:
    """Call a stage by its name in a process of its own, and return its result in plain JSON types.

    Steps, messages and warnings reach ``progress`` in the thread of the caller. Where the caller is interrupted, or
    ``progress`` raises, the stage is interrupted, and tidies up before this function ends.

    Raises what the stage raised: TledgeError, or RuntimeError with the traceback as a note for a bug. EnvironmentFault
    is also raised where the process was killed.
    """
    with contextlib.ExitStack() as stack:
        said = stack.enter_context(tempfile.TemporaryFile())
        heard, written = os.pipe()
        told = stack.enter_context(os.fdopen(heard, "rb"))
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "tledge.stage_worker", str(written), str(os.getpid())],
                env=_environment(),
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=said,
                pass_fds=[written],
                start_new_session=True,  # Ctrl-C in a terminal reaches the caller alone, who passes it on
            )
        finally:
            os.close(written)
        stack.callback(_end, process)
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError), process.stdin:  # a process that ended at once says why below
            pickle.dump((stage, dict(arguments)), process.stdin)
        for answer in _heard(told, progress):
            return _result(answer)
        raise _ended(stage, process.wait(), said)


def _environment() -> dict[str, str]:
    """Return the environment of the process, in which it finds this very package.

    The session may have found it by way of its own ``sys.path``, of which another process knows nothing.
    """
    environment = safe_environment()
    home = str(Path(__file__).resolve().parent.parent)
    if home not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [environment.get("PYTHONPATH"), home]))
    return environment


def _heard(told: IO[bytes], progress: Progress) -> Iterator[dict[str, Any]]:
    """Pass on what the process tells until it gives a result, and yield that."""
    steps: dict[int, tuple[AbstractContextManager[Advance], Advance]] = {}
    try:
        for line in told:
            if not line.endswith(b"\n"):  # the process was killed in the middle of it
                return
            match json.loads(line):
                case {"step": int(number), "description": str(description), "total": total}:
                    step = progress.step(description, total)
                    steps[number] = step, step.__enter__()
                case {"advanced": int(number), "units": int(units)}:
                    steps[number][1](units)
                case {"ended": int(number), "is_whole": bool(is_whole)}:
                    _leave(steps.pop(number)[0], is_whole)
                case {"said": str(message)}:
                    progress.say(message)
                case {"warned": str(message)}:
                    progress.warn(message)
                case answer:
                    yield answer
    finally:
        for step, _ in reversed(steps.values()):  # what was under way when the process or the caller was stopped
            _leave(step, is_whole=False)


def _leave(step: AbstractContextManager[Advance], is_whole: bool) -> None:
    if is_whole:
        step.__exit__(None, None, None)
        return
    stopped = _Stopped()
    with contextlib.suppress(_Stopped):
        step.__exit__(_Stopped, stopped, stopped.__traceback__)


def _result(answer: dict[str, Any]) -> Any:
    if "result" in answer:
        return answer["result"]
    kind = getattr(errors, str(answer["error"]), None)
    if isinstance(kind, type) and issubclass(kind, TledgeError):
        raise kind(answer["message"])
    bug = RuntimeError(f"a bug of tledge, not of yours: {answer['error']}: {answer['message']}")
    bug.add_note(str(answer["traceback"]))
    raise bug


def _ended(stage: str, code: int, said: IO[bytes]) -> BaseException:
    """Return the error for a process that ended without a result."""
    if code == 128 + signal.SIGINT:
        return KeyboardInterrupt()
    if code in (-signal.SIGKILL, -signal.SIGTERM, 128 + signal.SIGTERM):
        return EnvironmentFault(f"{stage}: its process was killed, as systems do where memory is short")
    said.seek(max(0, said.seek(0, os.SEEK_END) - _LAST_BYTES))
    lines = [line for line in said.read().decode(errors="replace").splitlines() if line.strip()]
    return RuntimeError(f"{stage}: its process ended with exit code {code}: {'; '.join(lines[-_LAST_LINES:])}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Interrupt the process unless it has ended, wait while it tidies up, and kill it where that takes too long."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=2 * TIDY_UP_S)
    except BaseException as error:  # a second Ctrl-C, too
        process.kill()
        process.wait()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
