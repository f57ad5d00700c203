"""This module takes names out of text that goes to strangers: of users, of hosts, and of places that a variable names."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import socket
from collections.abc import Iterator
from pathlib import Path

PLACES = (
    *("TLEDGE_ARTIFACTS", "TLEDGE_CACHE_DIR", "TFHUB_CACHE_DIR", "TFDS_DATA_DIR", "TMPDIR", "XDG_CACHE_HOME"),
    *("VIRTUAL_ENV", "CONDA_PREFIX", "CUDA_HOME", "CUDNN_HOME"),
)
"""The value of each of these variables is a folder. It is shown by the variable's name."""


def without_names(text: str) -> str:
    """Return the text with ``~`` for a home, ``.`` for the working directory, and ``$NAME`` for a variable's folder.

    The name of the user or of the host is left out wherever it is a part of a path.
    """
    for place, shown in sorted(_places(), key=lambda pair: -len(pair[0])):
        text = re.sub(rf"{re.escape(place)}(?=$|[^\w.-])", shown, text)
    for name, shown in _names():
        text = re.sub(rf"(?<=/){re.escape(name)}(?=$|[^\w.-])", shown, text)
    return text


def _places() -> Iterator[tuple[str, str]]:
    """Yield paths with what is shown in their place, written as they are named and with links followed."""
    named = [(os.environ.get(name, ""), f"${name}") for name in PLACES]
    with contextlib.suppress(OSError):  # the working directory was removed
        named.append((str(Path.cwd()), "."))
    named.append((os.environ.get("HOME", ""), "~"))
    if (user := _user()) is not None:
        named.append((user.pw_dir, "~"))
    for place, shown in named:
        if Path(place).is_absolute() and Path(place) != Path("/"):
            yield place.rstrip("/"), shown
            yield os.path.realpath(place), shown


def _names() -> Iterator[tuple[str, str]]:
    if (user := _user()) is not None:
        yield user.pw_name, "USER"
    yield from ((os.environ[name], "USER") for name in ("USER", "LOGNAME") if os.environ.get(name))
    if host := socket.gethostname():
        yield host, "HOST"


def _user() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwuid(os.getuid())
    except KeyError:  # a container runs as a number without a name
        return None
