"""However a worker ends, it is a WorkerFailed with a message, or its result."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from tledge.runtimes.launch import WorkerFailed, run_worker


@pytest.fixture
def ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a program of a few lines as a worker module; ``result_file`` is its variable for where the result goes."""
    # Not an empty entry: it would stand for the working directory.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")])))

    def run(program: str, timeout_s: float = 30) -> dict[str, Any]:
        result = tmp_path / "result.json"
        header = f"import os, sys, json, time, signal\nresult_file = {str(result)!r}\n"
        (tmp_path / "small_worker.py").write_text(header + program)
        return run_worker("small_worker", {"number": 7}, tmp_path / "job.json", result, timeout_s)

    return run


def test_a_worker_gets_its_job_and_gives_its_result(ends: Any) -> None:
    job = "json.load(open(sys.argv[1]))"
    assert ends(f"json.dump({{'twice': 2 * {job}['number']}}, open(result_file, 'w'))") == {"twice": 14}


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGKILL", "SIGILL", "SIGFPE"])
def test_a_crash_by_signal_is_named(ends: Any, name: str) -> None:
    with pytest.raises(WorkerFailed, match=f"ended by {name}"):
        ends(f"os.kill(os.getpid(), signal.{name}); time.sleep(5)")


def test_a_signal_without_a_name_of_its_own_is_numbered(ends: Any) -> None:
    with pytest.raises(WorkerFailed, match="signal 40"):
        ends("os.kill(os.getpid(), 40); time.sleep(5)")


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


@pytest.mark.parametrize("program", ["os._exit(0)", "open(result_file, 'w').write('{\"half')"], ids=["none", "half"])
def test_a_worker_that_ends_without_a_whole_result_failed(ends: Any, program: str) -> None:
    with pytest.raises(WorkerFailed, match="without a whole result"):
        ends(program)


def test_a_worker_that_does_not_end_is_stopped_in_time(ends: Any, tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(WorkerFailed, match="no answer within 1 s"):
        ends(f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)", timeout_s=1)
    assert time.monotonic() - began < 20
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


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
    assert ends("import decimal; json.dump({'ok': 1}, open(result_file, 'w'))") == {"ok": 1}
