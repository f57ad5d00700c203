"""What a terminal shows of steps that overlap."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest

SCRIPT = """
import sys, threading
from tledge.cli.console import TerminalProgress

progress, order = TerminalProgress(quiet=False), sys.argv[1]
begun, ended = {name: threading.Event() for name in "ab"}, {name: threading.Event() for name in "ab"}

def work(name, total):
    try:
        with progress.step(f"step {name}", total) as advance:
            advance(2)
            begun[name].set()
            begun["ab"["ba".index(name)]].wait()
            if name != order[0]:
                ended[order[0]].wait()
            if name == order[1]:
                raise ValueError
    except ValueError:
        pass
    ended[name].set()

threads = [threading.Thread(target=work, args=pair) for pair in (("a", 5), ("b", None))]
for thread in threads: thread.start()
for thread in threads: thread.join()
with progress.step("step c"): pass
"""


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_steps_that_overlap_are_shown_together_and_each_leaves_one_line_however_it_ends(order: str) -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, order], stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 1 << 16)
        except OSError:  # the terminal's other end is closed
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert process.wait() == 0
    text = shown.decode()
    # Of a line that is drawn again the last state stays: what follows the last "erase this line".
    lines = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line.rpartition("\x1b[2K")[2]) for line in text.splitlines()]
    ends = [line.strip() for line in lines if line.startswith("  step")]
    first, second, third = ends
    assert first.startswith(f"step {order[0]} ")
    assert ("5/5" in first) == (order == "ab")
    assert second == f"step {order[1]}: stopped"
    assert third.startswith("step c ")
    assert "/" not in third
    assert "step a" not in lines[-1]
    assert "Traceback" not in text
