"""Workers run in a place: a machine to which files are brought, and on which programs are started.

One kind of place is one class.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tledge.machine import this_machine
from tledge.workers.process import WorkerProcess
from tledge.workers.worker import Job

if TYPE_CHECKING:
    from tledge.records import MachineRecord


class Place(Protocol):
    """A ``Place`` is a machine that runs workers.

    The paths in a :class:`Job` are paths on that machine: ``put`` and ``new_file`` return them.
    """

    def machine(self) -> MachineRecord:
        """Describe the machine, for the rows of a report that were measured on it."""

    def cores(self, num_threads: int) -> list[int]:
        """Choose the cores that a timed worker of so many threads stays on.

        The list is empty where a worker can't be kept to cores.
        """

    def put(self, path: Path) -> str:
        """Bring a file or folder to the machine, and return its path there."""

    def new_file(self) -> str:
        """Return the path of a file on the machine that does not exist yet, for a worker to write."""

    def get(self, there: str) -> Path:
        """Bring a file that a worker wrote to this machine, and return its path here."""

    def remove(self, there: str) -> None:
        """Delete a file that a worker wrote from the machine, if it is there."""

    def start(self, program: str, job: Job) -> WorkerProcess:
        """Start ``python -m program`` on the machine, with a job."""


class Here:
    """This place is this machine. No file is copied: its path in the place is its path here.

    Workers write in ``folder``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def machine(self) -> MachineRecord:
        """Describe this machine."""
        return this_machine()

    def cores(self, num_threads: int) -> list[int]:
        """Choose the last cores that this process may use, as the first core takes most interrupts."""
        if not hasattr(os, "sched_getaffinity"):
            return []
        usable = sorted(os.sched_getaffinity(0))
        return usable[-num_threads:] if num_threads <= len(usable) else []

    def put(self, path: Path) -> str:
        """Return the absolute path of the file, which stays where it is."""
        return str(path.resolve())

    def new_file(self) -> str:
        """Return a path in the folder of this place that no file has."""
        return tempfile.mktemp(dir=self._folder)  # noqa: S306 - in a folder of our own

    def get(self, there: str) -> Path:
        """Return the path as it is, since the file is here."""
        return Path(there)

    def remove(self, there: str) -> None:
        """Delete the file, if it exists."""
        Path(there).unlink(missing_ok=True)

    def start(self, program: str, job: Job) -> WorkerProcess:
        """Start a process on this machine."""
        return WorkerProcess(program, job, self._folder)
