"""Where workers run: a machine to which files are brought, and on which programs are started. One kind of place is one class."""

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
    """A machine that runs workers. Paths in a :class:`Job` are the place's own: ``put`` and ``new_file`` give them."""

    def machine(self) -> MachineRecord:
        """Describe the machine, for the rows that were measured on it."""

    def cores(self, num_threads: int) -> list[int]:
        """Choose the cores that a timed worker of so many threads stays on; none where it can't be kept to them."""

    def put(self, path: Path) -> str:
        """Bring a file or folder there and return its path there."""

    def new_file(self) -> str:
        """Return the path of a file there that does not exist yet, for a worker to write."""

    def get(self, there: str) -> Path:
        """Bring a file that a worker wrote to this machine and return its path here."""

    def start(self, program: str, job: Job) -> WorkerProcess:
        """Start ``python -m program`` there on a job."""


class Here:
    """This machine. Nothing is copied: a path there is the path here. ``folder``: where workers write."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def machine(self) -> MachineRecord:
        """Describe this machine."""
        return this_machine()

    def cores(self, num_threads: int) -> list[int]:
        """Choose the last cores that this process may use, as the first takes most interrupts."""
        if not hasattr(os, "sched_getaffinity"):
            return []
        usable = sorted(os.sched_getaffinity(0))
        return usable[-num_threads:] if num_threads <= len(usable) else []

    def put(self, path: Path) -> str:
        """Return the absolute path: the file stays where it is."""
        return str(path.resolve())

    def new_file(self) -> str:
        """Return a name that nothing has, in the folder of this place."""
        return tempfile.mktemp(dir=self._folder)  # noqa: S306 - in a folder of our own

    def get(self, there: str) -> Path:
        """Return the path itself."""
        return Path(there)

    def start(self, program: str, job: Job) -> WorkerProcess:
        """Start a process of this machine."""
        return WorkerProcess(program, job, self._folder)
