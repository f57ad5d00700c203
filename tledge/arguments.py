"""These functions check the arguments of the Python API. An error names the argument, its value and what it may be."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from tledge.errors import InputError

T = TypeVar("T")
R = TypeVar("R")
NameOrPath = str | os.PathLike[str]


def refused(name: str, value: object, wanted: str) -> InputError:
    """Return the error for an argument that can't be used."""
    return InputError(f"{name}={value!r}: give {wanted}")


def or_none(check: Callable[[str, object], R], name: str, value: object) -> R | None:
    """Check an argument unless it is None."""
    return None if value is None else check(name, value)


def text(name: str, value: object) -> str:
    """Return a name or a path as text that is not empty."""
    plain = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(plain, str) or not plain:
        raise refused(name, value, "a name or a path")
    return plain


def path(name: str, value: object) -> Path:
    """Return a path that was given as text or as a path."""
    return Path(text(name, value))


def paths(name: str, values: object) -> list[Path]:
    """Return a list of paths for one path or several."""
    several = [values] if isinstance(values, str | os.PathLike) else values
    if not isinstance(several, Iterable) or isinstance(several, bytes):
        raise refused(name, values, "one path, or several")
    return [path(name, value) for value in several]


def plain_name(name: str, value: object) -> str:
    """Return a name, which is no path."""
    if not isinstance(value, str):
        raise refused(name, value, "a name as text")
    return value


def names(name: str, values: object) -> list[str]:
    """Return a list of names for one name or several."""
    several = [values] if isinstance(values, str) else values
    if not isinstance(several, Iterable) or isinstance(several, bytes):
        raise refused(name, values, "one name as text, or several")
    return [plain_name(name, value) for value in several]


def whole(name: str, value: object) -> int:
    """Return a whole number, which may be NumPy's."""
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise refused(name, value, "a whole number") from None


def number(name: str, value: object) -> float:
    """Return a number, which may be NumPy's."""
    try:
        if isinstance(value, bool | str | bytes):
            raise TypeError
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise refused(name, value, "a number") from None


def flag(name: str, value: object) -> bool:
    """Return True or False, and take nothing else for it."""
    if not isinstance(value, bool):
        raise refused(name, value, "True or False")
    return value


def instance(name: str, value: T, kind: type[T]) -> T:
    """Return a value of one of tledge's public types."""
    if not isinstance(value, kind):
        raise refused(name, value, f"tledge.{kind.__name__}(...)")
    return value
