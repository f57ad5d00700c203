"""A signal ends the command within seconds, whatever it is doing.

Python hears a signal between two of its own instructions. While TensorFlow is inside an operator, or a read waits for data
that never comes, there is none: Ctrl-C would be heard when it is done, which may be never. So the handler of the operating
system also wakes a thread, which gives the command some seconds to tidy up, and then ends the process.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from types import FrameType

TIDY_UP_S = 5.0
_HEEDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SHOW_CURSOR = b"\x1b[?25h"  # bars hide it
_MESSAGE = b"interrupted in the middle of a computation; what is half-written is removed by the next command\n"


def heed_signals() -> None:
    """Make Ctrl-C, SIGTERM and SIGHUP end this process, with 128 and the signal's number.

    For the process of a command only, and before it starts a thread: who calls the library has signals of his own.
    """
    for number in _HEEDED:
        # nohup ignores one of them, and shells do what they start in the background.
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _end)
    heard, written = os.pipe()
    os.set_blocking(written, False)
    signal.set_wakeup_fd(written, warn_on_full_buffer=False)
    terminal = -1
    with contextlib.suppress(OSError):  # closed by whoever started us
        terminal = os.dup(2)  # as it is now: later C++ writes to a log
    threading.Thread(target=_watch, args=(heard, terminal), name="signals", daemon=True).start()


def _end(number: int, frame: FrameType | None) -> None:
    for other in _HEEDED:  # a second one would break into the tidying up; it could not make it quicker
        if signal.getsignal(other) is _end:
            signal.signal(other, signal.SIG_IGN)
    raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)


def _watch(heard: int, terminal: int) -> None:
    """End the process some seconds after a signal, if that has not ended it by then."""
    while (number := os.read(heard, 1)[0]) not in _HEEDED:
        pass
    time.sleep(TIDY_UP_S)
    with contextlib.suppress(OSError, ValueError):  # ValueError: there is none
        if select.select([], [terminal], [], 0)[1]:  # a terminal that was stopped would keep us
            os.write(terminal, (_SHOW_CURSOR if os.isatty(terminal) else b"") + _MESSAGE)
    os._exit(128 + number)
