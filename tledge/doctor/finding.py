"""This module defines a finding about the machine, and a check, which makes findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Finding:
    """A finding is one line about the machine.

    Attributes:
        name: what the line is about.
        value: what was found.
        problem: what would stop a build; None where nothing would.
        remedy: the way out of the problem.
    """

    name: str
    value: str
    problem: str | None = None
    remedy: str = ""


@dataclass(frozen=True)
class Check:
    """A check makes findings.

    Attributes:
        order: Checks run in ascending order, the fast ones first. Steps of ten leave room for new ones.
        find: Takes the folder of the runs, and yields findings.
    """

    order: int
    find: Callable[[Path], Iterator[Finding]]
