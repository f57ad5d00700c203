"""The progress that is used by default tells warnings to Python's ``warnings``, and shows steps in a notebook."""

from __future__ import annotations

import contextlib
import sys
import time
import warnings
from collections.abc import Iterator

from tledge.printable import one_line
from tledge.progress import Advance, Progress

_EVERY_S = 0.2  # A notebook keeps every text that it is sent until the line is cleared.


class TledgeWarning(UserWarning):
    """A stage warns of what must be known. Filter it by this class, with Python's ``warnings``."""


def progress_by_default() -> Progress:
    """Return what listens to a stage where the caller named nothing."""
    return NotebookProgress() if in_notebook() else Warnings()


def in_notebook() -> bool:
    """Tell whether this process is the kernel of a notebook, which shows what is printed below a cell."""
    interactive = sys.modules.get("IPython")  # whoever runs in a kernel has imported it
    return getattr(interactive.get_ipython() if interactive else None, "kernel", None) is not None


class Warnings:
    """This progress passes warnings to Python's ``warnings``, and shows nothing else."""

    @contextlib.contextmanager
    def step(self, description: str, total: int | None = None) -> Iterator[Advance]:
        yield lambda units: None

    def say(self, message: str) -> None:
        return None

    def warn(self, message: str) -> None:
        warnings.warn(TledgeWarning(one_line(message)), stacklevel=_depth_of_the_caller())


class NotebookProgress(Warnings):
    """This progress prints a line for each step, which counts while the step is under way."""

    def __init__(self) -> None:
        self._shown = ""  # what stands on the line that may still change
        self._last_s = 0.0

    @contextlib.contextmanager
    def step(self, description: str, total: int | None = None) -> Iterator[Advance]:
        description, started, done = one_line(description), time.monotonic(), 0

        def advance(units: int) -> None:
            nonlocal done
            done += units
            if time.monotonic() - self._last_s >= _EVERY_S:
                self._show(f"{description}: {done:,}{f' of {total:,}' if total else ''}")

        self._show(f"{description} ...")
        try:
            yield advance
        except BaseException:
            self._end(f"{description}: stopped")
            raise
        self._end(f"{description}: {time.monotonic() - started:.1f} s")

    def say(self, message: str) -> None:
        self._end(one_line(message))

    def _show(self, line: str) -> None:
        """Write over the line that may still change."""
        print(f"\r{line:{len(self._shown)}}", end="", flush=True)
        self._shown, self._last_s = line, time.monotonic()

    def _end(self, line: str) -> None:
        """Write a line that stays. The next one begins below it."""
        self._show(line)
        print(flush=True)
        self._shown = ""


def _depth_of_the_caller() -> int:
    """Return the ``stacklevel`` at which ``warnings.warn`` names the line that called tledge."""
    depth, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] in ("tledge", "contextlib"):
        depth, frame = depth + 1, frame.f_back
    return depth
