"""How a stage tells what it is doing, without knowing who listens."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

Advance = Callable[[int], None]


class Progress(Protocol):
    """What a stage calls. The command line draws bars; a library caller may pass :class:`Silent`.

    An export with several jobs calls it from several threads, and its steps overlap.
    """

    def step(self, description: str, total: int | None = None) -> AbstractContextManager[Advance]:
        """A step of ``total`` units (None: not known). The context yields ``advance(units_done)``."""

    def say(self, message: str) -> None:
        """A fact for the user, such as which device is used."""

    def warn(self, message: str) -> None:
        """Something the user must hear: a skipped file, a choice that was not the first."""


class Silent:
    """Says nothing, and keeps what was warned of in ``warnings``: pass your own to read them."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    @contextlib.contextmanager
    def step(self, description: str, total: int | None = None) -> Iterator[Advance]:
        yield lambda units: None

    def say(self, message: str) -> None:
        return None

    def warn(self, message: str) -> None:
        self.warnings.append(message)
