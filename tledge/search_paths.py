"""This module keeps the working directory out of the paths on which modules, programs and libraries are looked up.

People run tledge in a folder of photos that somebody else packed: a ``types.py`` that lies there must not run.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from tledge.errors import InputError

# In each of these an empty entry means the working directory. "$PYTHONPATH:/mine" has one where PYTHONPATH was not set.
_PATHS = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH")
_GPU_TOOLS = ("cuda_sdk_lib", "bin/ptxas", "bin/nvlink", "bin/fatbinary", "bin/tileiras")


def safe_environment(**changes: str) -> dict[str, str]:
    """Return the environment for a process that tledge starts: this one's, with ``changes`` and safe search paths.

    A Python process that it starts, or that a library starts there, puts neither the working directory nor the folder
    of its script first among its modules. A folder that a path names stays, and so does ``.``: the user asked for it.
    """
    safe = {**os.environ, **changes, "PYTHONSAFEPATH": "1"}
    for name in _PATHS:
        if name in safe:
            text = safe[name].replace(";", ":") if name == "LD_LIBRARY_PATH" else safe[name]  # Linux takes both
            entries = [entry for entry in text.split(os.pathsep) if entry]
            safe[name] = os.pathsep.join(entries)
            if not entries:  # an empty variable would mean one empty entry
                del safe[name]
    return safe


def protect_this_process() -> None:
    """Give this process the variables of :func:`safe_environment` and a safe sys.path.

    Whatever a library starts inherits them. What Python and the dynamic linker read before the first line of tledge
    can't be changed any more.
    """
    python_path = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if len(python_path) > 1 and "" in python_path:
        with contextlib.suppress(OSError, ValueError):  # the folder is gone, or Python left it out
            sys.path.remove(str(Path.cwd()))  # what Python made of the empty entry
    sys.path[:] = [entry for entry in sys.path if entry]
    safe = safe_environment()
    for name in os.environ.keys() - safe.keys():
        del os.environ[name]
    os.environ.update(safe)


def require_no_gpu_tools() -> None:
    """Raise InputError where the working directory has a program that TensorFlow would run to compile for a GPU.

    XLA looks for its compiler in ``cuda_sdk_lib/bin/ptxas`` and ``bin/ptxas`` first, relative to the working directory.
    """
    found = [name for name in _GPU_TOOLS if os.path.lexists(name)]
    if found:
        raise InputError(
            f"{found[0]} in the working directory: TensorFlow would run it to compile for a GPU. Run tledge in another folder."
        )
