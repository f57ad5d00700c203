"""Processes that convert, while this one makes ready what the next format is made from."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import queue
import signal
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import CancelledError
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self, TypeVar

from tledge.errors import EnvironmentFault
from tledge.room import available_memory

T = TypeVar("T")
_BEHIND = 5  # in niceness: what is made ready in the meantime is what all others wait for
_MEMORY_BYTES = 1_800_000_000  # of one process: TensorFlow, a network, a converter


def with_room(jobs: int) -> int:
    """How many processes beside this one, which takes as much, the available memory has room for: ``jobs`` at most."""
    available = available_memory()
    return jobs if available is None else max(0, min(jobs, available // _MEMORY_BYTES - 1))


class Processes:
    """Up to ``most`` processes of our own that call functions; a context, at whose end they are gone, whatever they do.

    Each starts when it is first needed. Functions, arguments and results pass through pipes, pickled: only to and from
    processes that this one started.
    """

    def __init__(self, most: int) -> None:
        self._idle: queue.LifoQueue[_Process | None] = queue.LifoQueue()
        for _ in range(most):
            self._idle.put(None)
        self._started: list[_Process] = []
        self._is_open, self._starting = True, threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._starting:
            self._is_open = False
        for process in self._started:
            process.end()

    def call(self, what: str, function: Callable[..., T], *arguments: Any) -> T:
        """``function(*arguments)``, computed by the next process that is free; for threads, which wait here.

        Raises what the function raised, EnvironmentFault where its process was ended, by whomever, with ``what`` as the
        sentence's subject, and CancelledError after the end of the context.
        """
        process = self._idle.get()
        try:
            if process is None or not process.is_alive():
                process = self._start()
            result, error = process.answer(what, function, arguments)
        finally:
            self._idle.put(process)
        if error is not None:
            raise error
        made: T = result
        return made

    def _start(self) -> _Process:
        with self._starting:
            if not self._is_open:
                raise CancelledError
            self._started.append(_Process())
            return self._started[-1]


class _Process:
    """One of them, and the pipe to it."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")  # TensorFlow's threads do not outlive a fork
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def answer(
        self, what: str, function: Callable[..., Any], arguments: tuple[Any, ...]
    ) -> tuple[Any, Exception | None]:
        """Result or error of a call. Raises EnvironmentFault where the process ended before it gave one."""
        try:
            self._pipe.send((function, arguments))
            found: tuple[Any, Exception | None] = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            raise EnvironmentFault(
                f"{what}: its process ended, with exit code {self._process.exitcode}. The usual reason is too little "
                "memory; --jobs 1 makes one format after another"
            ) from None
        return found

    def is_alive(self) -> bool:
        return self._process.is_alive()

    def end(self) -> None:
        self._process.kill()
        self._process.join()


def _serve(pipe: Connection) -> None:
    """What a process does until nobody is at the other end of its pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; who started this process ends it
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # a GPU is for training, and its memory for one process
    os.nice(_BEHIND)
    with contextlib.suppress(EOFError, OSError):
        while True:
            function, arguments = pipe.recv()
            answer: tuple[Any, Exception | None]
            try:
                answer = function(*arguments), None
            except Exception as error:
                answer = None, _portable(error)
            pipe.send(answer)


def _portable(error: Exception) -> Exception:
    """The error, with where it was raised as a note; another one of its words where it can't be taken apart and put together."""
    error.add_note("In a process of its own:\n" + "".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    except Exception:
        words = RuntimeError(f"{type(error).__name__}: {error}")
        words.add_note(error.__notes__[-1])
        return words
    return error
