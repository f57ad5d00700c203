"""Processes that convert, while this one makes ready what the next format is made from."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import pickle
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import CancelledError
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self, TypeVar

from tledge.confinement import die_with_parent
from tledge.errors import EnvironmentFault, TledgeError, environment_fault
from tledge.room import available_memory
from tledge.search_paths import safe_environment

T = TypeVar("T")
_BEHIND = 5  # in niceness: what is made ready in the meantime is what all others wait for
_MEMORY_BYTES = 1_800_000_000  # of one process: TensorFlow, a network, a converter


def with_room(jobs: int) -> int:
    """How many processes the available memory has room for beside this one, which takes as much: ``jobs`` at most."""
    available = available_memory()
    return jobs if available is None else max(0, min(jobs, available // _MEMORY_BYTES - 1))


class Processes:
    """Up to ``most`` processes of our own that call functions; a context, at whose end they are gone, whatever they do.

    Each starts when it is first needed. The standard library's pool can't end a process in the middle of its work, which
    Ctrl-C asks for, and its way to start one anew, and the process that counts its resources, import what lies in the
    working directory. Functions, arguments and results pass through pipes, pickled: what they run is ours, on the
    data that this process would run it on. Functions are those of modules that can be imported there.
    """

    def __init__(self, most: int) -> None:
        self._free: queue.LifoQueue[_Process | None] = queue.LifoQueue()
        for _ in range(most):
            self._free.put(None)
        self._started: list[_Process] = []
        self._is_open, self._lock = True, threading.Lock()

    def __enter__(self) -> Self:
        # For temporary files of the processes: one that is killed does not remove its own.
        self._folder = tempfile.TemporaryDirectory(prefix="tledge-", ignore_cleanup_errors=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._is_open = False
        for process in self._started:
            process.kill()
        for process in self._started:
            process.exit_code()
        self._folder.cleanup()

    def call(self, what: str, function: Callable[..., T], *arguments: Any) -> T:
        """``function(*arguments)``, computed by the next process that is free; for threads, which wait here.

        Raises what the function raised; where its process was ended, EnvironmentFault or, for a crash, RuntimeError, with
        ``what`` as the sentence's subject; CancelledError after the end of the context.
        """
        process = self._free.get()
        try:
            if process is None or not process.is_alive():
                process = self._start()
            answer = process.answer(what, pickle.dumps((function, arguments)))
        finally:
            self._free.put(process)
        result, error, where = pickle.loads(answer)  # noqa: S301 - of a process that this one started
        if error is not None:
            error.add_note(f"In a process of its own:\n{where}")
            raise error
        made: T = result
        return made

    def _start(self) -> _Process:
        with self._lock:
            if not self._is_open:
                raise CancelledError
            self._started.append(_Process(self._folder.name))
            return self._started[-1]


class _Process:
    """One of them, and the pipe to it."""

    def __init__(self, folder: str) -> None:
        self._pipe, theirs = Pipe()
        # Linux ends it with the thread that starts it, too: one that lives as long as the context.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, str(theirs.fileno()), str(os.getpid())],
            # A GPU is for training, and its memory for one process.
            env=safe_environment(CUDA_VISIBLE_DEVICES="-1", TMPDIR=folder),
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()

    def answer(self, what: str, question: bytes) -> bytes:
        """Raises EnvironmentFault where the process was ended before it answered, RuntimeError where it crashed."""
        try:
            self._pipe.send_bytes(question)
            return self._pipe.recv_bytes()
        except (EOFError, OSError):
            code = self.exit_code()
        if code in (-signal.SIGKILL, -signal.SIGTERM):
            raise EnvironmentFault(
                f"{what}: its process was killed, as systems do where memory is short. With --jobs 1 formats are made "
                "one after another, in this process"
            )
        raise RuntimeError(f"{what}: its process ended with exit code {code}")

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        self._process.kill()

    def exit_code(self) -> int:
        """Waits for the end."""
        return self._process.wait()


def _serve(pipe: Connection, parent_pid: int) -> None:
    """What a process does until nobody is at the other end of its pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; who started this process ends it
    die_with_parent(parent_pid)
    faulthandler.enable()
    os.nice(_BEHIND)
    with contextlib.suppress(EOFError, OSError):
        while True:
            pipe.send_bytes(_answer(pipe.recv_bytes()))


def _answer(question: bytes) -> bytes:
    """Result, error and where it was raised, pickled."""
    try:
        function, arguments = pickle.loads(question)  # noqa: S301 - of the process that started this one
        return pickle.dumps((function(*arguments), None, ""))
    except Exception as error:
        where = "".join(traceback.format_exception(error))
        clear = error if isinstance(error, TledgeError) else environment_fault(error) or error
        try:
            answer = pickle.dumps((None, clear, where))
            pickle.loads(answer)  # noqa: S301 - to see whether it can be
        except Exception:
            answer = pickle.dumps((None, RuntimeError(f"{type(error).__name__}: {error}"), where))
        return answer


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1])), int(sys.argv[2]))
