"""A file may have any name: none of it is obeyed by the terminal on which it is shown."""

from __future__ import annotations

import ast
import json
import logging
import os
import pty
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tledge.cli
from tledge.cli.console import TerminalProgress, run_guarded
from tledge.errors import InputError
from tledge.printable import printable_lines
from tledge.run import Run
from tledge.stages import export

HOSTILE = "x\x1b[2J\x1b[1;1H\u202e\x9b\udcff\nverdict: passed"
PRINTING = {"console.py", "main.py", "output.py"}  # the last prints the version
Command = Callable[..., Any]


def _assert_printable(text: str) -> None:
    assert printable_lines(text) == text
    assert not [line for line in text.splitlines() if line.startswith("verdict")]


def test_only_what_makes_text_printable_prints() -> None:
    folder = Path(tledge.cli.__file__).parent
    for path in folder.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert path.name in PRINTING or not names & {"print", "echo", "secho", "stdout", "stderr", "Console"}, path.name


def test_photos_and_folders_of_hostile_names_are_named_without_harm(
    tledge: Command, lenet_copy: Run, photo_folder: Any, tmp_path: Path
) -> None:
    export(lenet_copy, ["tflite-float32"])
    folder = photo_folder({"0": 30, "1": 30}).rename(tmp_path / HOSTILE.replace("\udcff", ""))
    (folder / "0" / f"{HOSTILE}.jpg").write_bytes(b"torn")
    whole = (folder / "1" / "000.png").rename(folder / "1" / f"{HOSTILE}.png")
    model = ("--artifact", "tflite-float32", "--artifacts", tmp_path / "artifacts", "--run", "lenet")

    def told(*arguments: str | Path, code: int = 0) -> Any:
        outcome = tledge(*arguments)
        assert outcome.code == code, outcome.err
        _assert_printable(outcome.out)
        _assert_printable(outcome.err)
        return outcome

    assert "verdict: passed.jpg" in told("evaluate", "--dataset", folder, *model).err  # named, all the same
    scored = json.loads(told("evaluate", "--dataset", folder, "--json", *model).out)
    assert HOSTILE.replace("\udcff", "") in scored["dataset"]
    (answered,) = json.loads(told("predict", whole, "--json", *model).out)["photos"]
    # To the letter, but for bytes that are no character.
    assert answered["path"] == os.fsencode(whole).decode(errors="backslashreplace")
    told("predict", whole, *model)
    told("predict", folder / "0" / f"{HOSTILE}.jpg", *model, code=2)
    told("predict", tmp_path / f"none-{HOSTILE}", *model, code=2)
    told("predict", f"--{HOSTILE}", code=2)
    told("build", "--dataset", tmp_path / f"none-{HOSTILE}", "--artifacts", tmp_path, code=2)
    told("runs", "--artifacts", folder)
    (folder / "0").rename(folder / HOSTILE.replace("\udcff", ""))
    assert "does not know" in told("evaluate", "--dataset", folder, *model, code=2).err


def test_an_error_is_one_line_whatever_it_quotes(capfd: pytest.CaptureFixture[str]) -> None:
    def fail(error: Exception) -> None:
        raise error

    for error in (InputError(HOSTILE), PermissionError(13, "denied", HOSTILE), ValueError(HOSTILE)):
        run_guarded(lambda error=error: fail(error))
        told = capfd.readouterr().err
        assert len(told.splitlines()) == 1
        _assert_printable(told)
    log = Path(told.rpartition("is in ")[2].strip())
    assert "Native libraries said" in log.read_text()
    assert printable_lines(log.read_text()) == log.read_text()  # of several lines, as a traceback is
    log.unlink()


def test_a_message_is_one_line_whatever_it_quotes(capfd: pytest.CaptureFixture[str]) -> None:
    def chatter() -> None:
        progress = TerminalProgress(quiet=False)
        progress.say(HOSTILE)
        progress.warn(HOSTILE)
        with progress.step(HOSTILE):
            pass

    run_guarded(chatter)
    told = capfd.readouterr().err
    assert len(told.splitlines()) == 3
    _assert_printable(told)


def test_what_python_and_libraries_say_by_themselves_is_printable(capfd: pytest.CaptureFixture[str]) -> None:
    def chatter() -> None:
        sys.stderr.write(
            warnings.formatwarning(HOSTILE, UserWarning, "file.py", 1)
        )  # as Python shows one, where no pytest is
        handler = logging.StreamHandler()
        handler.emit(logging.makeLogRecord({"msg": HOSTILE}))
        TerminalProgress(quiet=False).warn("told")

    run_guarded(chatter)
    told = capfd.readouterr().err
    assert told.count("verdict: passed") == 2
    assert "warning: told" in told
    assert printable_lines(told) == told


SCRIPT = f"""
import logging
from tledge.cli.console import TerminalProgress, run_guarded

def command():
    progress = TerminalProgress(quiet=False)
    name = {HOSTILE!r}
    with progress.step(name, 3) as advance:
        advance(2)
        logging.StreamHandler().emit(logging.makeLogRecord({{"msg": name}}))
    with progress.step(name): pass
    progress.warn(name)
    progress.say(name)

run_guarded(command)
"""


def test_a_terminal_gets_the_colours_and_bars_of_ours_and_no_escape_sequence_of_a_name() -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    while part := _read(ours):
        shown += part
    os.close(ours)
    assert process.wait() == 0
    text = shown.decode()
    assert text.count("verdict: passed") >= 5
    assert "\x1b[33mwarning" in text  # yellow
    assert "\x1b[2K" in text  # a bar that is drawn again
    assert not {"\x1b[2J", "\x1b[1;1H", "\u202e", "\x9b"} & {
        text[place : place + size] for size in (1, 4, 6) for place in range(len(text))
    }


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 16)
    except OSError:  # the terminal's other end is closed
        return b""
