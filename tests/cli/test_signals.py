"""A signal ends a command within seconds, with 128 and its number, also where Python can't hear it."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tledge.run import open_run
from tledge.signals import TIDY_UP_S

SECONDS = 10 * TIDY_UP_S  # of a machine under load; nothing here ends by itself
# A suite that a shell runs in the background ignores SIGINT, and so would the command that it starts.
HEED = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
ENDLESS = """
import os, sys
from concurrent.futures import ThreadPoolExecutor
from tledge.signals import heed_signals
heed_signals()
os.mkfifo(sys.argv[1])

def read():
    print("reading", flush=True)
    open(sys.argv[1], "rb").read()

with ThreadPoolExecutor(1) as pool:
    pool.submit(read).result()
"""

IN_TENSORFLOW = """
from tledge.signals import heed_signals
heed_signals()
from tledge.tensorflow_setup import tensorflow
tf = tensorflow()

@tf.function(input_signature=[tf.TensorSpec([])])
def endless(x):
    return tf.while_loop(lambda x: x > 0.0, lambda x: (x + 0.0 * x,), [x])

endless.get_concrete_function()
print("computing", flush=True)
endless(tf.constant(1.0))
"""

IN_BARS = """
import sys, time
import tledge.cli.main
from tledge.cli.console import TerminalProgress

def command():
    with TerminalProgress(quiet=False).step("counting", int(sys.argv[1])) as advance:
        for _ in range(int(sys.argv[1])):
            time.sleep(0.05)
            advance(1)

tledge.cli.main.app = command
tledge.cli.main.main()
"""


def _ended(process: subprocess.Popen[str], number: int, *, times: int = 1) -> str:
    for _ in range(times):
        process.send_signal(number)
        time.sleep(0.2)
    _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 128 + number, said
    return said


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_read_that_never_ends_ends_with_a_signal(tmp_path: Path, number: int) -> None:
    command = [sys.executable, "-c", HEED + ENDLESS, str(tmp_path / "pipe")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "reading\n"
    # Twice, as timeout(1) sends it to its child and to their group.
    assert "interrupted in the middle of a computation" in _ended(process, number, times=2)


@pytest.mark.long
def test_an_operator_that_never_ends_ends_with_a_signal() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HEED + IN_TENSORFLOW], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "computing\n"
    time.sleep(2)  # into the loop
    assert "interrupted in the middle of a computation" in _ended(process, signal.SIGINT)


@pytest.mark.long
def test_a_build_ends_with_a_signal_while_tensorflow_is_inside_an_operator_and_the_next_one_is_not_in_its_way(
    save_module: Callable[..., Path], tiny_backbone: Path, photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    import tensorflow as tf

    def endless(pixels: tf.Tensor) -> tf.Tensor:
        ever = tf.while_loop(lambda x: tf.reduce_all(x > -1.0), lambda x: (x + 0.0 * x,), [tf.reshape(pixels, (-1,))])
        return tf.reduce_mean(pixels, (1, 2)) + tf.reduce_sum(ever[0])

    options = ["--dataset", str(photo_folder({"cat": 30, "dog": 30})), "--run", "first", "--max-epochs", "1"]
    options += ["--artifacts", str(tmp_path / "artifacts")]
    command = [sys.executable, "-m", "tledge", "build", *options, "--backbone"]
    process = subprocess.Popen([*command, str(save_module(endless))], stderr=subprocess.PIPE, text=True)
    assert process.stderr
    for line in process.stderr:
        if "for fast features" in line:  # the module answers a few photos there, and so never ends
            break
    else:
        raise AssertionError(process.wait())
    time.sleep(5)  # into the loop
    assert "interrupted" in _ended(process, signal.SIGTERM)
    assert subprocess.run([*command, str(tiny_backbone)], capture_output=True, check=False).returncode == 0
    assert open_run(tmp_path / "artifacts").name == "first"
    assert sorted(path.name for path in (tmp_path / "artifacts").iterdir()) == [".tledge", "first", "latest"]


@pytest.mark.parametrize("is_told", [True, False], ids=["with SIGHUP", "without SIGHUP"])
def test_a_terminal_that_goes_away_while_bars_are_drawn_ends_in_129(tmp_path: Path, is_told: bool) -> None:
    take_terminal = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n" if is_told else ""
    count = "10000" if is_told else "40"  # A command that hears no signal hears of it at the end of a step.
    terminal, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", take_terminal + IN_BARS, count], stdin=slave, stdout=slave, stderr=slave,
        start_new_session=True, env={**os.environ, "TMPDIR": str(tmp_path), "TERM": "xterm"},
    )  # fmt: skip
    os.close(slave)
    shown = b""
    while b"counting" not in shown:
        shown += os.read(terminal, 4096)
    os.close(terminal)
    assert process.wait(SECONDS) == 128 + signal.SIGHUP
    assert list(tmp_path.iterdir()) == []  # no log of a bug


def test_a_caller_of_the_library_keeps_his_signals() -> None:
    program = (
        "import signal, threading; before = [signal.getsignal(n) for n in range(1, 32)]; import tledge, tledge.cli.main; "
        "assert before == [signal.getsignal(n) for n in range(1, 32)]; assert signal.set_wakeup_fd(-1) == -1; "
        "assert threading.active_count() == 1"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
