"""These processes convert one format each, while the main process prepares the material of the next."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import pickle
import queue
import signal
import subprocess
import sys
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
from tledge.files import temporary_folder
from tledge.room import available_memory
from tledge.search_paths import safe_environment

T = TypeVar("T")
_BEHIND = 5  # the niceness of a worker process: all others wait for what the main process prepares
_MEMORY_BYTES = 1_800_000_000  # what one process takes with TensorFlow, a network and a converter


def with_room(jobs: int) -> int:
    """Return how many worker processes, ``jobs`` at most, the available memory has room for.

    This process takes as much memory as a worker, and its share is left free.
    """
    available = available_memory()
    return jobs if available is None else max(0, min(jobs, available // _MEMORY_BYTES - 1))


class Processes:
    """``Processes`` is a context with up to ``most`` worker processes that call functions. At its end it kills them.

    Each process starts when it is first needed. The pool of the standard library is not used, for two reasons. It can't end
    a process in the middle of its work, which Ctrl-C asks for. The processes that it starts, its resource tracker among
    them, import what lies in the working directory.

    Functions, arguments and results are pickled and pass through pipes. That is safe, because the workers run our own code on
    the data on which this process would run it. A function has to belong to a module that the worker can import.
    """

    def __init__(self, most: int) -> None:
        self._free: queue.LifoQueue[_Process | None] = queue.LifoQueue()
        for _ in range(most):
            self._free.put(None)
        self._started: list[_Process] = []
        self._is_open, self._lock = True, threading.Lock()

    def __enter__(self) -> Self:
        # The processes write temporary files here. A process that is killed does not remove its files.
        self._stack = contextlib.ExitStack()
        self._folder = self._stack.enter_context(temporary_folder())
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
        self._stack.close()

    def call(self, what: str, function: Callable[..., T], *arguments: Any) -> T:
        """Return ``function(*arguments)``, computed by the next process that is free. The calling thread waits for it.

        An exception that the function raised is raised here again.

        Args:
            what: What the function does. Errors about its process begin with it.
            function: A function of a module that the process can import.
            arguments: Arguments that can be pickled.

        Raises:
            EnvironmentFault: The process was killed before it answered.
            RuntimeError: The process crashed.
            CancelledError: The context has ended.
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
            self._started.append(_Process(str(self._folder)))
            return self._started[-1]


class _Process:
    """A ``_Process`` is one worker process and the pipe to it."""

    def __init__(self, folder: str) -> None:
        self._pipe, theirs = Pipe()
        # Linux also ends a process with the thread that started it. That thread lives as long as the context.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, str(theirs.fileno()), str(os.getpid())],
            # The GPU is left to training: its memory has room for one process.
            env=safe_environment(CUDA_VISIBLE_DEVICES="-1", TMPDIR=folder),
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()

    def answer(self, what: str, question: bytes) -> bytes:
        """Send a pickled question to the process, and return its pickled answer.

        Raises EnvironmentFault where the process was killed before it answered, and RuntimeError where it crashed. Both
        errors begin with ``what``.
        """
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
        """Wait until the process has ended, and return its exit code."""
        return self._process.wait()


def _serve(pipe: Connection, parent_pid: int) -> None:
    """Answer the questions from a pipe in a worker process, until the other end of the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the one that started this one ends it
    die_with_parent(parent_pid)
    faulthandler.enable()
    os.nice(_BEHIND)
    with contextlib.suppress(EOFError, OSError):
        while True:
            pipe.send_bytes(_answer(pipe.recv_bytes()))


def _answer(question: bytes) -> bytes:
    """Call the function of a pickled question. Return its result, its error and the error's traceback, pickled."""
    try:
        function, arguments = pickle.loads(question)  # noqa: S301 - of the process that started this one
        return pickle.dumps((function(*arguments), None, ""))
    except Exception as error:
        where = "".join(traceback.format_exception(error))
        clear = error if isinstance(error, TledgeError) else environment_fault(error) or error
        try:
            answer = pickle.dumps((None, clear, where))
            pickle.loads(answer)  # noqa: S301 - checks that the error can be unpickled
        except Exception:
            answer = pickle.dumps((None, RuntimeError(f"{type(error).__name__}: {error}"), where))
        return answer


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1])), int(sys.argv[2]))
