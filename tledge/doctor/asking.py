"""This module asks libraries in another process, as one that is broken may raise, crash or hang where it is loaded."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

from tledge.search_paths import safe_environment

TENSORFLOW, RUNTIMES = "tensorflow", "tledge.runtimes"
LONGEST_S = 180.0  # TensorFlow loads in 5 seconds from a disk, and within a minute from a slow card
_MOST_LETTERS = 500
_CAUSES = {
    signal.SIGILL: ", as this CPU lacks an instruction that it was built with",
    signal.SIGKILL: ", perhaps as memory ran out",
}


@dataclass(frozen=True)
class Answer:
    """An answer is what a module said of itself when it was loaded, or the ``problem`` that it had."""

    name: str
    said: str = ""
    problem: str | None = None


def answers(names: Sequence[str], longest_s: float = LONGEST_S) -> Iterator[Answer]:
    """Load modules in another process, in their order, and yield the answer of each.

    A module at which the process ends, or is still at work after ``longest_s`` seconds, has that as its problem. The
    modules after it are loaded by a new process.
    """
    waiting = list(names)
    while waiting:
        with tempfile.TemporaryFile() as said, _started(waiting, said) as process:
            timer = threading.Timer(longest_s, process.kill)
            timer.start()
            try:
                assert process.stdout is not None
                for line in process.stdout:
                    yield Answer(**json.loads(line))
                    waiting.pop(0)
                code, is_late = process.wait(), timer.finished.is_set()
            finally:
                timer.cancel()
                process.kill()
            if waiting:
                said.seek(0)
                how = _how(code, said.read().decode(errors="replace"))
                yield Answer(waiting.pop(0), problem=f"no answer within {longest_s:g} s" if is_late else how)


def _started(names: Sequence[str], said: IO[bytes]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", __spec__.name, *names],
        env=safe_environment(TF_CPP_MIN_LOG_LEVEL="2"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=said,
        text=True,
    )


def _how(code: int, said: str) -> str:
    last = next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "")
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"its process was ended by {signal.Signals(-code).name}{_CAUSES.get(signal.Signals(-code), '')}"
    return f"its process ended with exit code {code}: {last}"[:_MOST_LETTERS]


def _answer(name: str) -> str:
    import importlib

    if name == TENSORFLOW:
        from tledge.tensorflow_setup import device, tensorflow

        tensorflow()
        found = device()
        return f"{found.kind}: {found.count} x {found.name}" if found.kind == "GPU" else "CPU: it sees no GPU"
    if name == RUNTIMES:
        from tledge.runtimes import runtimes

        return ", ".join(
            f"{one.name} (needs {', '.join(missing)})" if (missing := one.missing_libraries()) else one.name
            for one in runtimes().values()
        )
    importlib.import_module(name)
    return ""


def _main(names: Sequence[str]) -> None:
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)  # libraries print what they like
        for name in names:
            answer: dict[str, str] = {"name": name}
            try:
                answer["said"] = _answer(name)
            except (Exception, SystemExit) as error:
                answer["problem"] = f"{type(error).__name__}: {error}"[:_MOST_LETTERS]
            print(json.dumps(answer), file=out, flush=True)


if __name__ == "__main__":
    _main(sys.argv[1:])
