"""Formats that are converted at once, in processes of their own."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest

from tledge import export
from tledge.errors import EnvironmentFault, PromiseBroken
from tledge.exporters.material import Options
from tledge.exporters.processes import Processes, with_room
from tledge.files import sha256_file
from tledge.progress import Silent
from tledge.records import ExportRecord
from tledge.run import Run, tree_hashes

from .conftest import Build

FEW = Options(calibration_samples=8)


def _is_gone(pid: int, within_s: float = 10) -> bool:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":  # it ended; who started it has not asked how
            return True
        time.sleep(0.05)
    return False


def test_a_process_answers_call_after_call_and_is_not_this_one() -> None:
    with Processes(1) as processes:
        first, second = processes.call("a", os.getpid), processes.call("b", os.getpid)
    assert first == second != os.getpid()
    assert _is_gone(first)


def test_what_a_function_raises_arrives_with_where_it_was_raised() -> None:
    with Processes(1) as processes:
        with pytest.raises(ValueError, match="no number") as caught:
            processes.call("a", int, "no number")
        with pytest.raises(RuntimeError, match="^Local: of no module\n"):
            processes.call("a", exec, "raise type('Local', (Exception,), {})('of no module')")
        assert processes.call("a", int, "7") == 7
    assert "in _serve" in caught.value.__notes__[0]


@pytest.mark.parametrize(("end", "code"), [((os._exit, 7), 7), ((signal.raise_signal, signal.SIGKILL), -9)])
def test_a_process_that_is_ended_is_an_environment_fault_and_the_next_call_has_another(
    end: tuple[Callable[..., Any], int], code: int
) -> None:
    with Processes(1) as processes:
        with pytest.raises(EnvironmentFault, match=f"exporting x: its process ended, with exit code {code}"):
            processes.call("exporting x", *end)
        assert processes.call("exporting x", int, "7") == 7


def test_the_end_of_the_context_ends_what_is_under_way_and_nothing_starts_after_it() -> None:
    raised: list[BaseException] = []

    def wait() -> None:
        try:
            processes.call("waiting", time.sleep, 600)
        except EnvironmentFault as error:
            raised.append(error)

    with Processes(2) as processes:
        pid = processes.call("a", os.getpid)
        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.5)
    thread.join(10)
    assert not thread.is_alive()
    assert _is_gone(pid)
    assert "exit code -9" in str(raised[0])
    with pytest.raises(CancelledError):
        processes.call("a", os.getpid)


def test_a_process_ends_when_the_one_that_started_it_is_killed() -> None:
    script = (
        "import os, time\nfrom tledge.exporters.processes import Processes\n"
        "with Processes(1) as processes:\n    print(processes.call('a', os.getpid), flush=True)\n    time.sleep(600)\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert owner.stdout
    pid = int(owner.stdout.readline())
    owner.kill()
    owner.communicate()
    assert _is_gone(pid)


@pytest.mark.parametrize(("free_bytes", "room"), [(1_000_000_000, 0), (4_500_000_000, 1), (6_300_000_000, 2)])
def test_as_many_processes_are_started_as_memory_has_room_for_beside_this_one(free_bytes: int, room: int) -> None:
    script = "from tledge.exporters.processes import with_room; print(with_room(8))"

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (free_bytes, free_bytes))

    ended = subprocess.run(
        [sys.executable, "-c", script], preexec_fn=limit, stdout=subprocess.PIPE, text=True, check=True
    )
    assert int(ended.stdout) == room


def test_no_more_processes_are_started_than_asked_for() -> None:
    assert with_room(1) <= 1


def test_formats_converted_at_once_are_the_same_files_as_one_after_another(run_copy: Run) -> None:
    names = ["tflite-float32", "onnx-float32", "tflite-int8", "onnx-int8"]
    apart = export(run_copy, names, options=FEW, jobs=2)
    in_turn = export(run_copy, names, options=FEW)
    assert [record.format for record in apart] == [record.format for record in in_turn] == names
    assert [record.sha256 for record in apart] == [record.sha256 for record in in_turn]
    assert {record.format: record for record in in_turn} == run_copy.exports(names)


def test_what_breaks_its_promise_in_a_process_is_named_and_the_others_are_kept(with_sine: Run) -> None:
    names = ["tflite-float32", "tflite-int8", "onnx-float32"]
    with pytest.raises(PromiseBroken, match=r"SIN \(float32.*Exported: tflite-float32, onnx-float32\.$"):
        export(with_sine, names, options=FEW, jobs=2)
    assert list(with_sine.exports()) == ["onnx-float32", "tflite-float32"]


def test_a_fault_of_one_format_ends_the_export_of_all(run_copy: Run) -> None:
    (run_copy.folder / "model" / "saved_model.pb").write_bytes(b"changed while the formats are made")
    with pytest.raises(OSError, match="SavedModel"):
        export(run_copy, ["tflite-float32", "onnx-float32"], jobs=2)


@pytest.fixture(scope="module")
def with_sine(built_on: Build) -> Run:
    """A run whose backbone has an operator that TFLite has only in float."""
    import tensorflow as tf

    return built_on("sine-at-once", tf.sin)


def test_jobs_are_for_an_export_without_a_search(run_copy: Run, tledge: Callable[..., Any]) -> None:
    root = ["--artifacts", run_copy.folder.parent]
    ended = tledge("export", "--format", "tflite-int8", "--max-drop", "1", "--jobs", "2", *root)
    assert ended.code == 2
    assert "leave out --jobs" in ended.err
    assert tledge("export", "--format", "all", "--jobs", "0", *root).code == 2


def test_one_job_and_too_little_memory_start_no_process(
    run_copy: Run, exported: tuple[Run, dict[str, ExportRecord]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tledge.exporters.export.Processes.call", _never)
    monkeypatch.setattr("tledge.exporters.processes.available_memory", lambda: 3_000_000_000)
    heard = _Heard()
    for jobs in (1, 2):
        (made, _) = export(run_copy, ["tflite-float16", "tflite-float32"], jobs=jobs, progress=heard)
        assert made.sha256 == exported[1]["tflite-float16"].sha256
    assert heard.said == ["formats at a time: 1 instead of 2, for memory has room for no more"]


class _Heard(Silent):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


def _never(*arguments: object) -> None:
    raise AssertionError("a process was asked")


def test_ctrl_c_ends_the_processes_and_leaves_whole_files(run_copy: Run) -> None:
    before = tree_hashes(run_copy.folder)
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from tledge.cli.main import main; main()"
    options = ["--format", "all", "--jobs", "2", "--artifacts", str(run_copy.folder.parent)]
    process = subprocess.Popen(
        [sys.executable, "-c", heed, "export", *options],
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stderr
    for line in process.stderr:
        if "exporting tflite" in line:
            time.sleep(1)
            break
    children = _children(process.pid)
    assert children
    os.killpg(process.pid, signal.SIGINT)  # all of the group hear it, as in a terminal
    began = time.monotonic()
    out, rest = process.communicate(timeout=60)
    assert time.monotonic() - began < 15
    assert process.returncode == 130, rest
    assert "interrupted; nothing half-written was kept" in rest
    assert "Traceback" not in rest
    assert out == ""
    assert all(map(_is_gone, children))
    assert tree_hashes(run_copy.folder).keys() == before.keys()
    for name in run_copy.export_names():
        assert sha256_file(run_copy.export_folder(name) / run_copy.export_record(name).file)


def _children(pid: int) -> list[int]:
    told = [Path(path, "children").read_text() for path in Path(f"/proc/{pid}/task").iterdir()]
    return [int(number) for numbers in told for number in numbers.split()]
