"""Threads work on a stream of items ahead of its reader, within a bound of memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_THREADS = 2  # Pillow frees the interpreter lock while it decodes; more threads than cores gain nothing
_MAX_ITEMS = 64
_MAX_BYTES = 2**28


def ahead(
    work: Callable[[T], R], items: Iterable[T], num_bytes: Callable[[T], int] = lambda item: 0
) -> Generator[R, None, None]:
    """Yield the result of ``work`` for each item, in the order of the items.

    ``num_bytes`` returns how many bytes an item holds until it is worked on. Items are taken ahead until they hold over
    256 MiB, or until there are 64.
    """
    pending: deque[tuple[Future[R], int]] = deque()
    held = 0
    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            for item in items:
                size = num_bytes(item)
                pending.append((pool.submit(work, item), size))
                held += size
                del item  # it may be large, and so may be the next
                while pending and (len(pending) >= _MAX_ITEMS or held > _MAX_BYTES):
                    future, size = pending.popleft()
                    held -= size
                    yield future.result()
            while pending:
                yield pending.popleft()[0].result()
        finally:  # the reader may have stopped early: the rest is not worked on
            pool.shutdown(cancel_futures=True)
