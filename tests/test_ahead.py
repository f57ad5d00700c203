"""Work ahead of its reader stays within its bounds, and ends with the reader."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from tledge.ahead import ahead


def test_work_ahead_keeps_the_order_and_stays_in_its_window() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        while taken < 1000:
            taken += 1
            yield taken

    stream = ahead(lambda item: item * item, items())
    assert next(stream) == 1
    assert taken <= 64
    assert list(stream) == [item * item for item in range(2, 1001)]


def test_work_ahead_stops_with_who_asked() -> None:
    done = []

    def work(item: int) -> None:
        time.sleep(0.01)  # so that most of the window still waits for a thread
        done.append(item)

    with contextlib.closing(ahead(work, range(1000))) as stream:
        next(stream)
    assert len(done) < 32


def test_what_waits_for_its_turn_is_bounded_in_bytes_too() -> None:
    """Of items that hold 100 MiB each, two wait while the third is taken; the one that was given out is held no more."""
    taken = []

    def items() -> Iterator[int]:
        for number in range(10):
            taken.append(number)
            yield number

    for given, number in enumerate(ahead(lambda item: item, items(), lambda item: 100 * 2**20)):
        assert number == given
        assert len(taken) <= given + 3
    assert taken == list(range(10))
