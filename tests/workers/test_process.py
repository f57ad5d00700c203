"""However a worker ends, it is a WorkerFailed with a message, or its answer."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tledge.bench.answers import require_logits
from tledge.errors import EnvironmentFault
from tledge.workers.process import OutOfMemory, WorkerFailed, WorkerProcess

from .jobs import job


@pytest.fixture
def ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a program of a few lines as a worker module, and send it one command; ``say(text)`` is its answer."""
    # Not an empty entry: it would stand for the working directory.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")])))
    made = job(tmp_path, b"", "litert", np.zeros((7, 2, 2, 3), np.uint8))

    def run(program: str, timeout_s: float = 30) -> dict[str, Any]:
        header = "import os, sys, json, time, signal\ndef say(text): sys.stdout.write(text); sys.stdout.flush()\n"
        (tmp_path / "small_worker.py").write_text(header + program)
        with WorkerProcess("small_worker", made, tmp_path) as process:
            return process.call("double", timeout_s, number=21)

    return run


def test_a_worker_gets_its_job_and_a_command_and_gives_its_answer(ends: Any) -> None:
    job = "json.load(open(sys.argv[1]))"
    answer = ends(f"n = json.loads(sys.stdin.readline()); say(json.dumps([n, {job}['num_photos']][0]) + chr(10))")
    assert answer == {"do": "double", "number": 21}
    assert ends(f"say(json.dumps({{'photos': {job}['num_photos']}}) + chr(10))") == {"photos": 7}


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGKILL", "SIGILL", "SIGFPE"])
def test_a_crash_by_signal_is_named(ends: Any, name: str) -> None:
    with pytest.raises(WorkerFailed, match=f"ended by {name}"):
        ends(f"os.kill(os.getpid(), signal.{name}); time.sleep(5)")


def test_a_signal_without_a_name_of_its_own_is_numbered(ends: Any) -> None:
    with pytest.raises(WorkerFailed, match="signal 40"):
        ends("os.kill(os.getpid(), 40); time.sleep(5)")


@pytest.mark.parametrize(
    "work",
    ["raise MemoryError", "raise RuntimeError('std::bad_alloc')", "sys.stderr.write('bad_alloc'); sys.stderr.flush(); os.abort()",
     "os.kill(os.getpid(), 9); time.sleep(5)"],
)  # fmt: skip
def test_a_process_that_ended_for_lack_of_memory_is_told_as_that(ends: Any, work: str) -> None:
    with pytest.raises(OutOfMemory, match="memory"):
        ends(work)


def test_an_original_without_memory_is_no_reason_to_build_again() -> None:
    with pytest.raises(EnvironmentFault, match="too little memory for the original: gone") as told:
        require_logits(OutOfMemory("gone"), "model")
    assert "build" not in str(told.value)


def test_a_native_crash_is_a_failed_worker(ends: Any) -> None:
    with pytest.raises(WorkerFailed, match="SIGSEGV"):
        ends("import ctypes; ctypes.string_at(0)")


def test_a_python_error_keeps_its_last_lines(ends: Any) -> None:
    with pytest.raises(WorkerFailed, match="ValueError: the artifact is odd") as caught:
        ends("raise ValueError('the artifact is odd')")
    assert len(str(caught.value).splitlines()) == 1


def test_an_exit_code_without_a_word_is_reported(ends: Any) -> None:
    with pytest.raises(WorkerFailed, match="exit code 9"):
        ends("os._exit(9)")


def test_a_worker_that_ends_without_an_answer_failed(ends: Any) -> None:
    with pytest.raises(WorkerFailed, match="ended with exit code 0"):
        ends("os._exit(0)")


@pytest.mark.parametrize(
    "answer", ['{"half', "[1, 2]", "7", "\\xff\\xfe", ""], ids=["half", "list", "number", "bytes", "empty"]
)
def test_an_answer_that_is_no_json_object_is_a_failed_worker(ends: Any, answer: str) -> None:
    with pytest.raises(WorkerFailed, match="no readable answer"):
        ends(f"os.write(1, b'{answer}' + bytes([10])); time.sleep(30)")


def test_an_endless_answer_is_cut_off(ends: Any) -> None:
    with pytest.raises(WorkerFailed, match="without end"):
        ends("while True: os.write(1, b'x' * 65536)")


def test_a_worker_that_reads_no_command_and_ends_is_a_failed_worker(ends: Any) -> None:
    with pytest.raises(WorkerFailed, match="exit code 3"):
        ends("os.close(0); os._exit(3)")


def test_a_worker_that_does_not_end_is_stopped_in_time(ends: Any, tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(WorkerFailed, match="no answer within 1 s"):
        ends(f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)", timeout_s=1)
    assert time.monotonic() - began < 20
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_time_limit_that_no_system_can_wait_for_is_one_all_the_same(ends: Any) -> None:
    assert ends("say(json.dumps(dict(ok=1)) + chr(10))", timeout_s=1e10) == {"ok": 1}


def test_what_a_worker_says_in_no_encoding_is_still_a_message(ends: Any) -> None:
    with pytest.raises(WorkerFailed, match="odd"):
        ends("os.write(2, b'odd \\xff\\xfe bytes'); os._exit(1)")


def test_a_worker_takes_no_module_from_the_working_directory(
    ends: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "decimal.py").write_text("raise RuntimeError('taken from the working directory')")
    monkeypatch.chdir(elsewhere)
    assert ends("import decimal; say(json.dumps(dict(ok=1)) + chr(10))") == {"ok": 1}
