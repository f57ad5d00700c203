"""A process reserves names by locked files while it lives.

The lock of a file ends with its process, however that dies.
"""

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

MAX_NAME = 100  # the most characters in a name that reserved_new makes
_PREFIX, _SUFFIX = ".reserved-", ".lock"
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)
_TRIES, _PAUSE_S = 10, 0.03  # a process that removes abandoned files holds each for a moment


class Held(Exception):
    """This exception says that another process, or another thread, holds the lock."""


@contextlib.contextmanager
def held(lock: Path) -> Iterator[None]:
    """Hold the file ``lock``, which is made at the start and removed at the end, in a folder that exists.

    Raises Held where another process or thread holds it.
    """
    handle = _taken(lock, os.O_CREAT, _TRIES)
    try:
        yield
    finally:
        _given_back(lock, handle)


def abandoned(folder: Path, prefix: str) -> Iterator[Path]:
    """Yield the files ``prefix*.lock`` that dead processes left in a folder.

    Each file is held while the caller looks at it. It is removed afterwards, unless the caller could not remove the
    folder ``prefix*`` beside it. A file that this user may not write belongs to another one, who will remove it.
    """
    for lock in folder.glob(f"{prefix}*{_SUFFIX}"):
        try:
            handle = _taken(lock, 0, 1)
        except (Held, OSError, EnvironmentFault):  # a process is at work there, or removed it; a link is nobody's lock
            continue
        try:
            yield lock
        finally:
            if lock.with_suffix("").exists():
                os.close(handle)
            else:
                _given_back(lock, handle)


def is_held(lock: Path) -> bool:
    """Return whether another process holds a lock. A lock that can't be opened is another user's, and counts as held."""
    try:
        handle = os.open(lock, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: it needs no right to write
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


@contextlib.contextmanager
def reserved(folder: Path, name: str, busy: str) -> Iterator[None]:
    """Hold ``name``, a plain file name, in a folder that exists.

    Raises InputError at once where another process holds it. ``busy`` says what the other process is doing, to follow
    "another process is".
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_named(folder, name))
        except Held:
            raise InputError(f"another process is {busy}") from None
        yield


@contextlib.contextmanager
def reserved_new(folder: Path, stem: str, is_taken: Callable[[str], bool]) -> Iterator[str]:
    """Hold and give the first free name among ``stem``, ``stem-2``, ``stem-3``, ...

    A name is free where no other process holds it and ``is_taken`` returns False.
    """
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


def flock(path: Path, handle: int, operation: int) -> None:
    """Lock an open file as flock(2) does. Raises EnvironmentFault where its file system has no locks."""
    try:
        fcntl.flock(handle, operation)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        raise EnvironmentFault(
            f"{path.parent}: its file system has no locks of files (flock: {error.strerror}), so two processes could write "
            "the same files. Point --artifacts, TLEDGE_CACHE_DIR and TMPDIR at folders on a local disk."
        ) from error


def _named(folder: Path, name: str) -> contextlib.AbstractContextManager[None]:
    for _ in abandoned(folder, _PREFIX):
        pass
    return held(folder / f"{_PREFIX}{name}{_SUFFIX}")


def _taken(lock: Path, create: int, tries: int) -> int:
    """Return a descriptor that holds the lock of the file that has this name now.

    Raises Held after ``tries`` attempts, and where another user's file can't be opened. Raises EnvironmentFault where a
    folder or a link has the name, or the file system has no locks.
    """
    while True:
        handle = _opened(lock, create)
        try:
            flock(lock, handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle), lock.stat()):
                return handle
        except BlockingIOError:
            tries -= 1
            if not tries:
                os.close(handle)
                raise Held from None
            time.sleep(_PAUSE_S)
        except EnvironmentFault:
            _given_back(lock, handle)  # without locks nobody can hold it
            raise
        except FileNotFoundError:
            pass  # the process that held the lock has removed the file
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _opened(lock: Path, create: int) -> int:
    try:
        return os.open(lock, os.O_RDWR | os.O_NOFOLLOW | create, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR):
            raise EnvironmentFault(f"{lock}: stands where tledge locks a name. Move it away.") from error
        if error.errno != errno.EACCES or not create or not lock.exists():
            raise
    try:
        return os.open(lock, os.O_RDONLY | os.O_NOFOLLOW)  # another user's, which can still be locked
    except PermissionError:
        raise Held from None
    except FileNotFoundError:  # he has removed it in the meantime
        return _opened(lock, create)


def _given_back(lock: Path, handle: int) -> None:
    with contextlib.suppress(PermissionError):  # another user's, in a folder where only he may remove it
        lock.unlink(missing_ok=True)  # removed while held: a process that has it open sees that it is gone
    os.close(handle)
