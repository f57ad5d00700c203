"""What the benchmarks share: running a command as a user does, timing it, and saying how busy the machine is."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
_LAST_LINES = 15


@dataclass(frozen=True)
class Finished:
    """A process that ended well. ``wall_time_s``: from before its start to its end, imports included."""

    wall_time_s: float
    stdout: str


def run_timed(command: Sequence[str], environment: Mapping[str, str]) -> Finished:
    """Run a program to its end. Raises SystemExit with its last lines where it fails."""
    started = time.perf_counter()
    ended = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    seconds = time.perf_counter() - started
    if ended.returncode:
        said = ended.stderr.decode(errors="replace").strip().splitlines()[-_LAST_LINES:]
        raise SystemExit("\n".join([f"exit code {ended.returncode} of: {' '.join(command)}", *said]))
    return Finished(seconds, ended.stdout.decode())


def project_environment(**changes: str) -> dict[str, str]:
    """This process's environment with ``changes``, in which ``python -m tledge`` is this checkout's."""
    path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, **changes}


def load_average() -> float:
    """Processes that wanted a core over the last minute, on average."""
    return os.getloadavg()[0]


def busy_warning(load: float) -> str | None:
    """A sentence where others use the machine, so that wall times are not its own; None where it is idle."""
    from tledge.machine import usable_cores

    if load < 0.5:
        return None
    return (
        f"the machine is loaded: on average {load:.2f} processes wanted one of {usable_cores()} cores in the last "
        "minute, before anything was measured; wall times are longer than on an idle machine"
    )
