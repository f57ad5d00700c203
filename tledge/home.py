"""A path may begin with ``~`` or ``~user``; not every user has a home folder, and not every name is a user's."""

from __future__ import annotations

from pathlib import Path

from tledge.errors import InputError


def expanded(path: str, what: str, remedy: str = "Write the whole path.") -> Path:
    """Return the path that the user means, where ``~`` stands for a home folder.

    Raises InputError, whose message begins with ``what`` and ends in ``remedy``, where no such folder is known.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        named = path.partition("/")[0].replace("~", "user ")
        named = "this user" if named == "user " else named
        raise InputError(f"{what}: no home folder is known for {named}. {remedy}") from error
