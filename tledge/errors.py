"""This module defines the errors of tledge, each kind with its exit code.

docs/reference/exit-codes.md lists the codes.
"""

from __future__ import annotations

import difflib
import errno
import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pydantic import ValidationError

REINSTALL = "Install tledge and its libraries again, into a new environment (in a checkout: pip install .)."
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.EIO)


class TledgeError(Exception):
    """tledge refuses something; the message says what happened and the way out."""

    exit_code = 70


class PromiseBroken(TledgeError):
    """An artifact does not hold what its format promises. This is a result, like a failed gate."""

    exit_code = 1


class InputError(TledgeError):
    """The command line, a configuration file or the data is wrong."""

    exit_code = 2


class EnvironmentFault(TledgeError):
    """The machine is at fault: no network, no disk, or a missing extra."""

    exit_code = 3


class ArtifactError(EnvironmentFault):
    """A file of a run is missing, cut short, or changed since it was written."""


def unknown(kind: str, name: str, known: Iterable[str], hint: str = "") -> InputError:
    """Return the error for an unknown name, which names the nearest match first, then all known names."""
    names = sorted(known)
    near = nearest(name, names)
    guess = f" Did you mean {near!r}?" if near else ""
    listed = f" Known: {', '.join(names)}." if names else ""
    return InputError(f"unknown {kind} {name!r}.{guess}{listed}{' ' + hint if hint else ''}")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is nearest to ``name``, or None. Upper case and the form of Unicode make no difference."""

    def plain(text: str) -> str:
        return unicodedata.normalize("NFC", text).casefold()

    by_plain = {plain(one): one for one in sorted(known, reverse=True)}
    found = difflib.get_close_matches(plain(name), sorted(by_plain), n=1, cutoff=0.5)
    return by_plain[found[0]] if found else None


class Problem(NamedTuple):
    """This record says what is wrong with one value, as text that may follow a colon.

    ``place`` names the value by its keys with dots between. It is empty where the record as a whole is wrong.
    """

    place: str
    said: str
    value: Any

    def __str__(self) -> str:
        return f"{self.place}: {self.said}" if self.place else self.said


def first_problem(error: ValidationError) -> Problem:
    """Return the first problem that pydantic found."""
    first = error.errors(include_url=False)[0]
    said = first["msg"].removeprefix("Value error, ")
    return Problem(".".join(map(str, first["loc"])), said[:1].lower() + said[1:], first["input"])


def environment_fault(error: BaseException) -> EnvironmentFault | None:
    """Return a clear error for what the machine refused; None for other errors.

    It refuses memory, room on the disk, open files, threads, a file that is gone or may not be touched, and a library
    that can't be loaded.
    """
    if fault := disk_full(error):
        return fault
    refused = _refused_to_the_process(error) or (_refused_file(error) if isinstance(error, OSError) else None)
    return None if refused is None else EnvironmentFault(refused)


def _refused_to_the_process(error: BaseException) -> str | None:
    number, said = getattr(error, "errno", None), str(error)
    if number in (errno.EMFILE, errno.ENFILE) or "Too many open files" in said:
        return "the system opens no more files for this process. Allow more: ulimit -n 1024"
    if "can't start new thread" in said or (number == errno.EAGAIN and getattr(error, "filename", None) is None):
        return "the system starts no more threads or processes. Allow more (ulimit -u), or end others."
    # TensorFlow raises ResourceExhaustedError, for disks and open files too: those are handled above.
    if isinstance(error, MemoryError) or number == errno.ENOMEM or type(error).__name__ == "ResourceExhaustedError":
        return (
            "too little memory for what was begun. Use less of what is large: photos at a time (--batch-size), hidden units "
            "(--head), the input (--image-size)."
        )
    if isinstance(error, ImportError) and not (error.name or "").startswith("tledge"):
        return f"a library can't be loaded: {error}. {REINSTALL}"
    return None


def _refused_file(error: OSError) -> str | None:
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return (
            f"{error.filename or 'a file'}: {error.strerror}. Point --artifacts, TLEDGE_CACHE_DIR or TMPDIR at a folder "
            "that can be written."
        )
    if error.errno in _GONE:
        where = error.filename or "the working directory or TMPDIR"  # nothing else is asked for without a name
        return (
            f"{where}: {error.strerror}. Something else moved or removed it while tledge worked, or its disk is gone. Keep "
            "the folders of --artifacts, TLEDGE_CACHE_DIR and TMPDIR as they are, and run the command again."
        )
    return None


def disk_full(error: BaseException) -> EnvironmentFault | None:
    """Return a clear error where ``error``, or what caused it, was a full disk; None where it was not.

    TensorFlow and ONNX Runtime report a full disk in their own exception types, so their text is read too.
    """
    seen: BaseException | None = error
    while seen is not None:
        full = isinstance(seen, OSError) and seen.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        if full or "No space left on device" in str(seen):
            where = getattr(seen, "filename", None)
            return EnvironmentFault(
                f"no space left on the disk{f' while writing {where}' if where else ''}. Nothing half-written was kept. "
                "Free some space, or point --artifacts, TLEDGE_CACHE_DIR or TMPDIR at a larger disk."
            )
        seen = seen.__cause__ or seen.__context__
    return None
