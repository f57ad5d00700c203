"""A stage reports its progress here, without knowing who listens."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

Advance = Callable[[int], None]


class Progress(Protocol):
    """This protocol is what a stage calls to report; the command line draws bars.

    A library caller may pass :class:`Silent`. An export with several jobs calls it from several threads, and its steps
    overlap.
    """

    def step(self, description: str, total: int | None = None) -> AbstractContextManager[Advance]:
        """Begin a step of ``total`` units (None: not known); the context yields ``advance(units_done)``."""

    def say(self, message: str) -> None:
        """Tell the user a fact, such as which device is used."""

    def warn(self, message: str) -> None:
        """Warn the user of what must be known: a skipped file, or a choice that was not the first."""


class Silent:
    """This progress shows nothing, and keeps the warnings in ``warnings``; pass your own instance to read them."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    @contextlib.contextmanager
    def step(self, description: str, total: int | None = None) -> Iterator[Advance]:
        yield lambda units: None

    def say(self, message: str) -> None:
        return None

    def warn(self, message: str) -> None:
        self.warnings.append(message)
