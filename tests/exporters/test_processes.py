"""Formats that are converted at once, in processes of their own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest

from tledge.datasets.run_photos import load_split
from tledge.errors import EnvironmentFault, PromiseBroken
from tledge.exporters import chosen
from tledge.exporters.options import Options
from tledge.exporters.processes import Processes, with_room
from tledge.progress import Advance, Silent
from tledge.run import Run
from tledge.stages import export

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
    assert "in _answer" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("function", "argument", "error", "said"),
    [
        (signal.raise_signal, signal.SIGKILL, EnvironmentFault, "exporting x: its process was killed"),
        (os._exit, 7, RuntimeError, "exporting x: its process ended with exit code 7"),
        (signal.raise_signal, signal.SIGSEGV, RuntimeError, "exporting x: its process ended with exit code -11"),
    ],
)
def test_a_process_that_is_ended_is_told_from_one_that_crashed_and_the_next_call_has_another(
    function: Callable[..., Any], argument: int, error: type[Exception], said: str
) -> None:
    with Processes(1) as processes:
        with pytest.raises(error, match=said):
            processes.call("exporting x", function, argument)
        assert processes.call("exporting x", int, "7") == 7


def test_what_can_not_be_pickled_is_told_and_the_process_goes_on() -> None:
    with Processes(1) as processes:
        pid = processes.call("a", os.getpid)
        with pytest.raises(Exception, match="pickle"):
            processes.call("a", int, threading.Lock())
        with pytest.raises(Exception, match="pickle"):
            processes.call("a", threading.Lock)
        assert processes.call("a", os.getpid) == pid


def test_a_full_disk_in_a_process_is_the_clear_error_that_it_is_in_this_one() -> None:
    with Processes(1) as processes, pytest.raises(EnvironmentFault, match="no space left"):
        processes.call("a", exec, "raise ValueError('of a library') from OSError(28, 'No space left on device')")


def test_the_end_of_the_context_ends_what_is_under_way_and_nothing_starts_after_it(tmp_path: Path) -> None:
    raised: list[BaseException] = []
    begun = tmp_path / "begun"
    work = f"import tempfile, time; open({str(begun)!r}, 'w').write(tempfile.mkdtemp()); time.sleep(600)"

    def wait() -> None:
        try:
            processes.call("waiting", exec, work)
        except EnvironmentFault as error:
            raised.append(error)

    with Processes(2) as processes:
        pid = processes.call("a", os.getpid)
        thread = threading.Thread(target=wait)
        thread.start()
        _wait_for(lambda: begun.exists() and bool(begun.read_text()))
        folder = Path(begun.read_text())
        assert folder.exists()
    thread.join(10)
    assert not thread.is_alive()
    assert _is_gone(pid)
    assert "waiting: its process was killed" in str(raised[0])
    assert not folder.exists()
    with pytest.raises(CancelledError):
        processes.call("a", os.getpid)


def _wait_for(condition: Callable[[], bool], within_s: float = 120) -> None:
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_process_ends_in_the_middle_of_its_work_when_the_one_that_started_it_is_killed(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    work = f"import os, time; open({str(begun)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    script = (
        "from tledge.exporters.processes import Processes\n"
        f"with Processes(1) as processes:\n    processes.call('a', exec, {work!r})\n"
    )
    with subprocess.Popen([sys.executable, "-c", script]) as owner:
        try:
            _wait_for(lambda: begun.exists() and bool(begun.read_text()))
        finally:
            owner.kill()
    assert _is_gone(int(begun.read_text()))


@pytest.mark.parametrize(
    ("available_bytes", "room"), [(1_000_000_000, 0), (3_700_000_000, 1), (5_500_000_000, 2), (10**12, 8), (None, 8)]
)
def test_as_many_processes_are_started_as_memory_has_room_for_beside_this_one(
    monkeypatch: pytest.MonkeyPatch, available_bytes: int | None, room: int
) -> None:
    monkeypatch.setattr("tledge.exporters.processes.available_memory", lambda: available_bytes)
    assert with_room(8) == room


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What processes were asked for, however little memory is left."""
    whats: list[str] = []
    call = Processes.call

    def heard(processes: Processes, what: str, *arguments: Any) -> Any:
        whats.append(what)
        return call(processes, what, *arguments)

    monkeypatch.setattr("tledge.exporters.export.with_room", lambda jobs: jobs)
    monkeypatch.setattr(Processes, "call", heard)
    return whats


@pytest.mark.long
def test_formats_converted_at_once_are_the_same_files_as_one_after_another(lenet_copy: Run, asked: list[str]) -> None:
    names = ["tflite-int8", "tflite-float32", "onnx-float32"]
    apart = export(lenet_copy, names, options=FEW, jobs=2)
    assert sorted(asked) == sorted(f"exporting {name}" for name in names)
    in_turn = export(lenet_copy, names, options=FEW)
    assert len(asked) == len(names)
    assert [record.format for record in apart] == [record.format for record in in_turn] == names
    assert [record.sha256 for record in apart] == [record.sha256 for record in in_turn]
    assert {record.format: record for record in in_turn} == lenet_copy.exports(names)


@pytest.mark.long
def test_what_breaks_its_promise_in_a_process_is_named_and_the_others_are_kept(
    with_sine: Run, asked: list[str]
) -> None:
    names = ["tflite-int8", "onnx-float32"]
    with pytest.raises(PromiseBroken, match=r"SIN \(float32.*Exported: onnx-float32\.$"):
        export(with_sine, names, options=FEW, jobs=2)
    assert len(asked) == 2
    assert list(with_sine.exports()) == ["onnx-float32"]


@pytest.mark.long
@pytest.mark.usefixtures("asked")
def test_a_fault_of_one_format_is_told_before_another_is_trained(lenet_copy: Run) -> None:
    place = lenet_copy.export_folder("tflite-float16")
    place.parent.mkdir()
    place.write_bytes(b"a file in the place of a folder")
    load_split(lenet_copy, "train", Silent())  # into the cache
    heard = _Heard()
    with pytest.raises(FileExistsError):
        export(lenet_copy, ["tflite-float16", "tflite-int8-qat"], jobs=2, progress=heard)
    assert heard.steps == ["the network as a flat graph", "exporting tflite-float16"]


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
    lenet_copy: Run, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tledge.exporters.export.with_room", lambda jobs: 0)
    heard = _Heard()
    names = ["tflite-float16", "onnx-float32"]
    one, two = (export(lenet_copy, names, jobs=jobs, progress=heard) for jobs in (1, 2))
    assert [record.sha256 for record in one] == [record.sha256 for record in two]
    assert heard.said == ["formats at a time: 1 instead of 2, for memory has room for no more"]
    assert asked == []


class _Heard(Silent):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self.steps: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)

    @contextlib.contextmanager
    def step(self, description: str, total: int | None = None) -> Iterator[Advance]:
        self.steps.append(description)
        yield lambda units: None


@pytest.mark.long  # it exports every format
def test_ctrl_c_ends_the_processes_and_leaves_whole_files(run_copy: Run, tmp_path: Path) -> None:
    heed = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from tledge.exporters import export; "
        "export.with_room = lambda jobs: jobs; from tledge.cli.main import main; main()"
    )
    options = ["--format", "all", "--jobs", "2", "--artifacts", str(run_copy.folder.parent)]
    left = tmp_path / "temporary"
    left.mkdir()
    shutil.rmtree(run_copy.folder / "exports")
    process = subprocess.Popen(
        [sys.executable, "-c", heed, "export", *options], env={**os.environ, "TMPDIR": str(left)},
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        _wait_for((run_copy.export_folder("tflite-float32") / "export.json").exists)
        children = _children(process.pid)
        began = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)  # all of the group hear it, as in a terminal
        out, rest = process.communicate(timeout=60)
    finally:
        process.kill()
    assert time.monotonic() - began < 15
    assert process.returncode == 130, rest
    assert "interrupted; nothing half-written was kept" in rest
    assert "Traceback" not in rest
    assert out == ""
    assert children
    assert all(map(_is_gone, children))
    assert list(left.iterdir()) == []
    made = run_copy.exports().keys()
    assert {"tflite-float32"} <= made < {form.name for form in chosen(["all"])}


def _children(pid: int) -> list[int]:
    found = []
    for path in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that has ended since
            found += [int(number) for number in Path(path, "children").read_text().split()]
    return found
