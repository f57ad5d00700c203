"""This module owns the terminal: progress bars, messages, and the one error boundary.

Results go to stdout, everything else to stderr. TensorFlow and its converters also write to the process's stderr from
C++. Those lines go to a log that is kept only where a command fails by a bug of tledge. So they neither break the bars
nor hide anything.
"""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import io
import os
import select
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tledge.errors import TledgeError, environment_fault
from tledge.printable import one_line, printable_lines
from tledge.progress import Advance

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Progress

BUG = 70
INTERRUPTED, READER_GONE, TERMINATED, HUNG_UP = 130, 141, 143, 129  # They are 128 + the signal, as in shells.
_INTERRUPTED_MESSAGE = "interrupted; nothing half-written was kept"


class TerminalProgress:
    """A ``TerminalProgress`` shows bars on stderr, or one line for each step where stderr is no terminal.

    With ``quiet``, which ``--json`` sets, it shows nothing but warnings.
    """

    def __init__(self, quiet: bool) -> None:
        from tledge.cli.output import PrintableConsole

        # Rich's own colours and bars bypass the stream that lets no escape sequence through.
        beneath = sys.stderr.beneath if isinstance(sys.stderr, _PrintableStream) else None
        self._console = PrintableConsole(file=beneath, stderr=True, soft_wrap=True)
        self._quiet = quiet
        self._bars: Progress | None = None  # All steps that are under way share it: a terminal has one place for bars.
        self._num_steps, self._counting = 0, threading.Lock()

    @contextlib.contextmanager
    def step(self, description: str, total: int | None = None) -> Iterator[Advance]:
        if self._quiet:
            yield lambda units: None
            return
        description = one_line(description)
        if not self._console.is_terminal:
            self._console.print(f"{description} ...", markup=False, highlight=False)
            yield lambda units: None
            return
        with self._shown() as bars:
            number = bars.add_task(description.replace("[", "\\["), total=total, is_counted=total is not None)
            try:
                yield lambda units: bars.advance(number, units)
                (ended,) = (task for task in bars.tasks if task.id == number)
                bars.remove_task(number)  # It is removed before it is full, so that the full bar is shown once.
                ended.total = ended.completed = total or 1
                ended.finished_time = ended.elapsed
                said: RenderableType = bars.make_tasks_table([ended])
            except BaseException:
                if number in bars.task_ids:
                    bars.remove_task(number)
                said = f"  {description}: stopped"
                raise
            finally:
                bars.refresh()
                self._console.print(said, markup=False, highlight=False)  # This is above the bars under way.

    @contextlib.contextmanager
    def _shown(self) -> Iterator[Progress]:
        with self._counting:
            if self._bars is None:
                self._bars = _new_bars(self._console)
                self._bars.start()
            self._num_steps += 1
            bars = self._bars
        try:
            yield bars
        finally:
            with self._counting:
                self._num_steps -= 1
                if not self._num_steps:
                    bars.stop()
                    self._bars = None

    def say(self, message: str) -> None:
        if not self._quiet:
            self._console.print(one_line(message), markup=False, highlight=False)

    def warn(self, message: str) -> None:
        self._console.print(f"warning: {one_line(message)}", style="yellow", markup=False, highlight=False)


def _new_bars(console: Console) -> Progress:
    """Make bars, one line for each step: how far it is, and the time left where its end is known."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        SpinnerColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class OfCounted(ProgressColumn):
        def __init__(self, column: ProgressColumn) -> None:
            super().__init__()
            self._column = column

        def render(self, task: Task) -> RenderableType:
            return self._column(task) if task.fields["is_counted"] else Text()

    counted = map(OfCounted, (MofNCompleteColumn(), TimeRemainingColumn()))
    return Progress(
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), *counted, TimeElapsedColumn(), console=console
    )


def run_guarded(command: Callable[[], Any]) -> int:
    """Run a Typer app, and return its exit code. Every error becomes one message.

    Where the reader of our output is gone (``tledge runs | head -1``), the command ends quietly with the code of a
    program that SIGPIPE ended, whatever its result. The code 1 would read as a failed gate. Where a terminal is gone, the
    code is that of SIGHUP.
    """
    with _outputs() as outputs:
        try:
            code = _run(command, outputs)
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:  # closed by whoever started us
                    stream.flush()
        except OSError as error:  # _run lets no other through
            nowhere = os.open(os.devnull, os.O_WRONLY)
            for number in (1, 2):
                os.dup2(nowhere, number)  # At the end, what is still in the buffers is flushed again.
            return READER_GONE if isinstance(error, BrokenPipeError) else HUNG_UP
    return code


@contextlib.contextmanager
def _outputs() -> Iterator[list[int]]:
    """Give copies of the open descriptors of stdout and stderr, as Rich closes a broken stdout by itself."""
    copies = []
    for number in (1, 2):
        with contextlib.suppress(OSError):
            copies.append(os.dup(number))
    try:
        yield copies
    finally:
        for copy in copies:
            os.close(copy)


def _says_that_the_reader_is_gone(error: Exception, outputs: list[int]) -> bool:
    """Tell whether an error came from writing to a pipe or a terminal that is gone.

    A socket, a worker or a disk may raise the same error, so stdout and stderr are looked at.
    """
    if not isinstance(error, BrokenPipeError) and getattr(error, "errno", None) != errno.EIO:
        return False
    poll = select.poll()
    for number in outputs:
        poll.register(number, 0)  # errors are always told
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _without_masks(command: Callable[[], Any]) -> None:
    """Run a command, and raise BrokenPipeError for a broken pipe, of which Typer and Rich make an exit with 1."""
    try:
        command()
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):
            raise stop.__context__ from None
        raise


def _run(command: Callable[[], Any], outputs: list[int]) -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that can't show a name still shows the rest
    with _native_log() as log:
        try:
            _without_masks(command)
        except SystemExit as stop:
            if stop.code in (INTERRUPTED, TERMINATED, HUNG_UP):  # Typer turns Ctrl-C into the first.
                print(_INTERRUPTED_MESSAGE, file=sys.stderr)
            return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        except KeyboardInterrupt:
            print(_INTERRUPTED_MESSAGE, file=sys.stderr)
            return INTERRUPTED
        except TledgeError as error:
            _say_error(str(error))
            return error.exit_code
        except Exception as error:
            if _says_that_the_reader_is_gone(error, outputs):
                raise
            fault = environment_fault(error)
            if fault:
                _say_error(str(fault))
                return fault.exit_code
            return _report_bug(error, log)
    return 0


def _say_error(message: str) -> None:
    print(f"error: {one_line(message)}", file=sys.stderr)


def _report_bug(error: Exception, log: IO[bytes]) -> int:
    log.seek(0)
    try:
        with tempfile.NamedTemporaryFile("wb", prefix="tledge-bug-", suffix=".log", delete=False) as report:
            said = log.read().decode(errors="replace")
            text = f"{''.join(traceback.format_exception(error))}\nNative libraries said:\n{said}"
            report.write(printable_lines(text).encode())
        where = f"the traceback is in {report.name}"
    except OSError as problem:
        where = f"and its traceback could not be saved ({problem.strerror})"
    first = (str(error).strip() or "no message").splitlines()[0]
    _say_error(f"a bug of tledge, not of yours: {type(error).__name__}: {first}; {where}")
    return BUG


class _PrintableStream(io.TextIOWrapper):
    """This stream is Python's stderr. It writes only what is printable, as messages of libraries may hold any names.

    ``beneath`` is the same stream for code that writes escape sequences of its own. Rich looks for it by the name
    ``rich_proxied_file``.
    """

    def __init__(self, binary: IO[bytes]) -> None:
        super().__init__(binary, encoding="utf-8", errors="backslashreplace", line_buffering=True)
        self.beneath = io.TextIOWrapper(binary, encoding="utf-8", errors="backslashreplace", line_buffering=True)
        self.rich_proxied_file = self.beneath

    def write(self, text: str) -> int:
        return super().write(printable_lines(text))


@contextlib.contextmanager
def _native_log() -> Iterator[IO[bytes]]:
    """Send what C++ writes to descriptor 2 to a file, while Python's own stderr stays where it was."""
    with contextlib.ExitStack() as stack:
        try:
            log: IO[bytes] = stack.enter_context(tempfile.TemporaryFile())
            python_stderr = _PrintableStream(os.fdopen(os.dup(2), "wb"))
        except OSError:  # There is no disk for a log, or no stderr at all: nothing is changed.
            yield stack.enter_context(Path(os.devnull).open("rb"))
            return
        stack.enter_context(python_stderr)
        before = sys.stderr
        os.dup2(log.fileno(), 2)
        sys.stderr = python_stderr
        faulthandler.enable(python_stderr)  # So a crash in C++ still says where Python was.
        try:
            yield log
        finally:
            faulthandler.disable()
            sys.stderr = before
            os.dup2(python_stderr.fileno(), 2)
            python_stderr.flush()  # This comes last, as it fails where the reader of stderr is gone.
