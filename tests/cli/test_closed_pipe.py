"""``tledge ... | head -1``: whoever read the output is gone, which is neither a failed gate nor a bug."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from reporting.samples import sample_report

from tledge.cli.console import run_guarded

READER_GONE, BUG = 141, 70


def _into_a_closed_pipe(*arguments: str | Path, with_stderr: bool = False) -> subprocess.CompletedProcess[str]:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "tledge", *map(str, arguments)]
    stderr = writer if with_stderr else subprocess.PIPE
    try:
        return subprocess.run(command, stdout=writer, stderr=stderr, text=True, check=False, timeout=60)
    finally:
        os.close(writer)


@pytest.mark.parametrize(
    "arguments",
    [("targets",), ("targets", "--json"), ("--help",), ("--version",)],
    ids=["table", "json", "help", "line"],
)
def test_a_command_whose_reader_is_gone_ends_quietly_as_sigpipe_would_end_it(arguments: tuple[str, ...]) -> None:
    ended = _into_a_closed_pipe(*arguments)
    assert (ended.returncode, ended.stderr) == (READER_GONE, "")


@pytest.mark.parametrize("arguments", [("runs", "--run"), ("compare", "a.json", "b.json")], ids=["usage", "error"])
def test_so_does_an_error_that_nobody_reads(arguments: tuple[str, ...]) -> None:
    assert _into_a_closed_pipe(*arguments, with_stderr=True).returncode == READER_GONE
    assert _into_a_closed_pipe(*arguments).returncode == 2  # stdout alone is not needed for it


def test_a_reader_that_leaves_in_the_middle_is_gone_too(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    sample_report(labels=[f"class {index}" for index in range(40)]).save(path)
    command = [sys.executable, "-m", "tledge", "compare", str(path), str(path), "--json"]
    long = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, pipesize=4096)
    assert long.stdout
    assert long.stderr
    assert long.stdout.readline() == "{\n"
    long.stdout.close()
    assert long.wait(60) == READER_GONE
    assert long.stderr.read() == ""
    long.stderr.close()


def test_a_broken_pipe_of_anything_else_is_not_taken_for_a_reader_that_left(capfd: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        raise BrokenPipeError(32, "Broken pipe")

    assert run_guarded(command) == BUG
    assert "BrokenPipeError" in capfd.readouterr().err


def test_the_verdict_of_a_verification_is_kept_out_of_it(tledge: Callable[..., Any], run_copy: Any) -> None:
    options = ("verify", "--artifacts", run_copy.folder.parent, "--accuracy-only", "--format", "tflite-int8")
    assert tledge(*options, "--max-mb", "0.001").code == 1
    assert _into_a_closed_pipe(*options, "--max-mb", "0.001").returncode == READER_GONE
