"""TensorFlow gets paths from this module that it takes for one folder each, whatever the folder is called.

TensorFlow takes the path of a checkpoint for a pattern, in which ``[``, ``*``, ``?`` and ``\\`` stand for other
characters. It takes no path that isn't UTF-8.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from tledge.errors import EnvironmentFault
from tledge.files import temporary_folder

_PATTERN = re.compile(r"[*?\[\\]")
_DESCRIPTORS = Path("/proc/self/fd")  # Linux has it, and a confined process, which makes no link, has it too


@contextlib.contextmanager
def plain_path(folder: Path) -> Iterator[str]:
    """Give a path of an existing folder that TensorFlow takes for that folder.

    It is the folder's own path where that is no pattern, and else another name of it while the context lasts. Raises
    EnvironmentFault where the folder has no other name.
    """
    if _is_plain(folder):
        yield str(folder)
    elif _DESCRIPTORS.is_dir():
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield str(_DESCRIPTORS / str(handle))
        finally:
            os.close(handle)
    else:
        with temporary_folder() as links:
            link = Path(links, "folder")
            if not _is_plain(link):
                raise EnvironmentFault(
                    f"{folder}: TensorFlow takes this path for a pattern. Move the folder to a path without *, ?, [ and \\, "
                    "or point TMPDIR at such a path."
                )
            link.symlink_to(folder.resolve(), target_is_directory=True)
            yield str(link)


def _is_plain(path: Path) -> bool:
    try:
        return not _PATTERN.search(os.fsencode(path).decode())
    except UnicodeDecodeError:
        return False
