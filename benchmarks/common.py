"""What the benchmarks share: running a command as a user does, timing it, and saying how busy the machine is."""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

REPOSITORY = Path(__file__).resolve().parent.parent
_LAST_LINES = 15


@dataclass(frozen=True)
class Finished:
    """A process that ended well. ``wall_time_s``: from before its start to its end, imports included.

    ``cpu_time_s``: what it and the processes that it waited for took of all cores together.
    """

    wall_time_s: float
    cpu_time_s: float
    stdout: str


def run_timed(command: Sequence[str], environment: Mapping[str, str]) -> Finished:
    """Run a program to its end. Raises SystemExit with its last lines where it fails."""
    cpu_before_s, started = _children_cpu_time_s(), time.perf_counter()
    ended = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    seconds = time.perf_counter() - started
    if ended.returncode:
        said = ended.stderr.decode(errors="replace").strip().splitlines()[-_LAST_LINES:]
        raise SystemExit("\n".join([f"exit code {ended.returncode} of: {' '.join(command)}", *said]))
    return Finished(seconds, _children_cpu_time_s() - cpu_before_s, ended.stdout.decode())


def _children_cpu_time_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def project_environment(**changes: str) -> dict[str, str]:
    """This process's environment with ``changes``, in which ``python -m tledge`` is this checkout's, wherever it runs."""
    path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1", **changes}


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


def parsed(parser: argparse.ArgumentParser) -> tuple[argparse.Namespace, list[str]]:
    """This program's own options, and the arguments after ``--``, which are another one's."""
    arguments = sys.argv[1:]
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return parser.parse_args(arguments[:end]), arguments[end + 1 :]


def begun() -> tuple[Console, float]:
    """A console on standard error, on which a busy machine was warned of, and the load average before any work."""
    console = Console(stderr=True, width=120, highlight=False)
    load = load_average()
    if warning := busy_warning(load):
        console.print(f"warning: {warning}", soft_wrap=True)
    return console, load
