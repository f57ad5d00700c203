"""Names that a process holds against others while it lives: locked files, whose locks end with it however it dies."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tledge.errors import EnvironmentFault, InputError

MAX_NAME = 100  # characters of a name that reserved_new makes
_PREFIX, _SUFFIX = ".reserved-", ".lock"
_TRIES, _PAUSE_S = 10, 0.03  # whoever removes what dead processes left holds it for a moment


class Held(Exception):
    """Another process, or another thread, holds the lock."""


@contextlib.contextmanager
def held(lock: Path) -> Iterator[None]:
    """Hold the file ``lock``, which is made, and removed at the end; its folder exists. Raises Held where another does."""
    handle = _taken(lock, os.O_CREAT, _TRIES)
    try:
        yield
    finally:
        _given_back(lock, handle)


def abandoned(folder: Path, prefix: str) -> Iterator[Path]:
    """The files ``prefix*.lock`` that dead processes left in a folder: each is held while it is looked at, and then removed."""
    for lock in folder.glob(f"{prefix}*{_SUFFIX}"):
        try:
            handle = _taken(lock, 0, 1)
        except (Held, OSError):  # a process is at work there, or has removed it since
            continue
        try:
            yield lock
        finally:
            _given_back(lock, handle)


@contextlib.contextmanager
def reserved(folder: Path, name: str, busy: str) -> Iterator[None]:
    """Hold ``name``, a plain file name, in a folder that exists. Raises InputError, at once, where another process does.

    ``busy``: what that one is doing, to stand after "another process is".
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_named(folder, name))
        except Held:
            raise InputError(f"another process is {busy}") from None
        yield


@contextlib.contextmanager
def reserved_new(folder: Path, stem: str, is_taken: Callable[[str], bool]) -> Iterator[str]:
    """Hold and give the first of ``stem``, ``stem-2``, ``stem-3``, ... that no other process holds and is not taken yet."""
    for number in itertools.count(1):
        end = f"-{number}" if number > 1 else ""
        name = f"{stem[: MAX_NAME - len(end)]}{end}"
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(_named(folder, name))
            except Held:
                continue
            if not is_taken(name):
                yield name
                return


def _named(folder: Path, name: str) -> contextlib.AbstractContextManager[None]:
    for _ in abandoned(folder, _PREFIX):
        pass
    return held(folder / f"{_PREFIX}{name}{_SUFFIX}")


def _taken(lock: Path, create: int, tries: int) -> int:
    """A descriptor that holds the lock of the file that has this name now."""
    while True:
        try:
            handle = os.open(lock, os.O_RDWR | os.O_NOFOLLOW | create, 0o666)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EISDIR):
                raise EnvironmentFault(f"{lock}: stands where tledge locks a name; move it away") from error
            raise
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle), lock.stat()):
                return handle
        except BlockingIOError:
            tries -= 1
            if not tries:
                os.close(handle)
                raise Held from None
            time.sleep(_PAUSE_S)
        except FileNotFoundError:
            pass  # who held it has removed it since
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _given_back(lock: Path, handle: int) -> None:
    lock.unlink(missing_ok=True)  # while it is held: who has it open already sees that it is gone
    os.close(handle)
