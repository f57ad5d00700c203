"""A signal ends the command within seconds, whatever it is doing.

Python handles a signal between two of its own instructions. It executes none while TensorFlow is inside an operator, or
while a read waits for data that never comes. Ctrl-C would be handled after that, which may be never. So the handler of
the operating system also wakes a thread. It gives the command some seconds to tidy up, and then ends the process.
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
_SHOW_CURSOR = b"\x1b[?25h"  # Progress bars hide the cursor.
_MESSAGE = b"interrupted in the middle of a computation; what is half-written is removed by the next command\n"


def heed_signals() -> None:
    """Make Ctrl-C, SIGTERM and SIGHUP end this process, with 128 + the signal's number as exit code.

    Call it only in the process of a command, before it starts a thread. A program that calls the library has its own
    handlers of signals.
    """
    for number in _HEEDED:
        # A signal may be ignored already: nohup does that, and shells do it to programs in the background.
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _end)
    heard, written = os.pipe()
    os.set_blocking(written, False)
    signal.set_wakeup_fd(written, warn_on_full_buffer=False)
    terminal = -1
    with contextlib.suppress(OSError):  # It may be closed by whoever started us.
        terminal = os.dup(2)  # Later C++ writes to a log at descriptor 2, so the present stderr is kept here.
    threading.Thread(target=_watch, args=(heard, terminal), name="signals", daemon=True).start()


def _end(number: int, frame: FrameType | None) -> None:
    for other in _HEEDED:  # A second signal would break into the tidying up, and could not make it quicker.
        if signal.getsignal(other) is _end:
            signal.signal(other, signal.SIG_IGN)
    raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)


def _watch(heard: int, terminal: int) -> None:
    """End the process some seconds after a signal, if the signal has not ended it by then."""
    while (number := os.read(heard, 1)[0]) not in _HEEDED:
        pass
    time.sleep(TIDY_UP_S)
    with contextlib.suppress(OSError, ValueError):  # ValueError means that there is no terminal.
        if select.select([], [terminal], [], 0)[1]:  # Writing to a terminal that was stopped would block.
            os.write(terminal, (_SHOW_CURSOR if os.isatty(terminal) else b"") + _MESSAGE)
    os._exit(128 + number)
