"""``python -m tledge.stage_worker`` runs one stage for :mod:`tledge.stage_process`, in a process that it owns."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tledge import errors, stages
from tledge.confinement import die_with_parent
from tledge.errors import environment_fault
from tledge.progress import Advance
from tledge.signals import heed_signals

_EVERY_S = 0.05


class Told:
    """This progress writes each thing that it hears as a line of JSON to a file descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._file = os.fdopen(descriptor, "wb", buffering=0)
        self._writing = threading.Lock()  # An export with several jobs reports from several threads.
        self._num_steps = 0

    def write(self, **answer: Any) -> None:
        """Write one line."""
        line = json.dumps(answer).encode() + b"\n"
        with self._writing:
            while line:
                line = line[self._file.write(line) :]

    @contextlib.contextmanager
    def step(self, description: str, total: int | None = None) -> Iterator[Advance]:
        with self._writing:
            self._num_steps += 1
            number = self._num_steps
        self.write(step=number, description=description, total=total)
        waiting, last_s = 0, time.monotonic()

        def advance(units: int) -> None:
            nonlocal waiting, last_s
            waiting += units
            if time.monotonic() - last_s >= _EVERY_S:
                self.write(advanced=number, units=waiting)
                waiting, last_s = 0, time.monotonic()

        is_whole = False
        try:
            yield advance
            is_whole = True
        finally:
            if waiting:
                self.write(advanced=number, units=waiting)
            self.write(ended=number, is_whole=is_whole)

    def say(self, message: str) -> None:
        self.write(said=message)

    def warn(self, message: str) -> None:
        self.write(warned=message)


def _build(**arguments: Any) -> str | None:
    from tledge.training.build import build

    run = build(**arguments)
    return None if run is None else str(Path(run.folder).absolute())


def _import(**arguments: Any) -> str:
    from tledge.importing.stage import import_model

    return str(Path(import_model(**arguments).folder).absolute())


def _export(**arguments: Any) -> list[dict[str, Any]]:
    return [record.as_json() for record in stages.export(**arguments)]


def _verify(**arguments: Any) -> dict[str, Any]:
    return stages.verify(**arguments).as_json()


STAGES: dict[str, Callable[..., Any]] = {"build": _build, "import": _import, "export": _export, "verify": _verify}


def main(descriptor: int, parent_pid: int) -> None:
    """Run the stage that stdin asks for, and write its result or its error to ``descriptor``."""
    die_with_parent(parent_pid)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # of this session, only the caller sends it
    heed_signals()
    os.set_inheritable(descriptor, False)
    told = Told(descriptor)
    stage, arguments = pickle.load(sys.stdin.buffer)  # noqa: S301 - of the process that started this one
    try:
        told.write(result=STAGES[stage](**arguments, progress=told))
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        clear = error if isinstance(error, errors.TledgeError) else environment_fault(error) or error
        known = [kind.__name__ for kind in type(clear).__mro__ if hasattr(errors, kind.__name__)]
        where = "".join(traceback.format_exception(error))
        told.write(error=(known or [type(clear).__name__])[0], message=str(clear), traceback=where)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
