"""A confined process takes no more memory than allowed and, where Linux has Landlock, writes nothing but what it may."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tledge.confinement import landlock_version
from tledge.run import Run
from tledge.systems import lacking

needs_landlock = pytest.mark.skipif(landlock_version() == 0, reason="this kernel has no Landlock")


MACOS = """
import os, resource, sys
limited = resource.setrlimit
def refused(which, limits):
    if which == resource.RLIMIT_AS:
        raise ValueError("current limit exceeds maximum limit")
    limited(which, limits)
resource.setrlimit = refused
del os.sched_getaffinity, os.sched_setaffinity
"""


@pytest.mark.long
def test_without_a_limit_of_memory_as_on_macos_a_good_artifact_is_verified(
    lenet_copy: Run, tledge: Callable[..., Any], tmp_path: Path
) -> None:
    artifacts = lenet_copy.folder.parent
    assert tledge("export", "--format", "tflite-float32", "--artifacts", artifacts).code == 0
    (tmp_path / "macos").mkdir()
    (tmp_path / "macos" / "sitecustomize.py").write_text(MACOS)  # it reaches the processes of the models, too
    command = [sys.executable, "-m", "tledge", "verify", "--protocol", "quick", "--max-drop", "100"]
    ended = subprocess.run(
        [*command, "--artifacts", artifacts],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "macos")},
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads((lenet_copy.reports() / "report.json").read_text())
    assert report["rows"][0]["error"] is None, ended.stderr


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("from tledge.__main__ import main; main()", "error: tledge does not run on Windows itself: install it in WSL"),
        ("from tledge import build", "ImportError: tledge does not run on Windows itself: install it in WSL"),
    ],
    ids=["command", "import"],
)
def test_on_windows_one_line_says_what_to_do(program: str, said: str) -> None:
    windows = "import sys; sys.platform = 'win32'; sys.modules['fcntl'] = sys.modules['resource'] = None"
    ended = subprocess.run([sys.executable, "-c", f"{windows}\n{program}"], capture_output=True, text=True, check=False)
    assert ended.stderr.splitlines()[-1].startswith(said)
    assert ended.returncode == (3 if said.startswith("error") else 1)


def test_a_system_that_sets_fewer_limits_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lacking() is None
    monkeypatch.setattr(sys, "platform", "darwin")
    assert str(lacking()).startswith("macOS limits neither the memory of a model's process")


def _confined(program: str, may_write: list[Path], *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    allowed = [str(path) for path in may_write]
    confine = f"from pathlib import Path; from tledge.confinement import confine; confine([Path(p) for p in {allowed}])"
    command = [sys.executable, "-c", f"import os, socket, sys, threading\n{confine}\n{program}", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@needs_landlock
@pytest.mark.parametrize(
    "deed",
    [
        "open(sys.argv[1], 'w')",
        "open(sys.argv[1], 'a')",
        "os.truncate(sys.argv[1], 0)",
        "os.unlink(sys.argv[1])",
        "os.rename(sys.argv[2], sys.argv[1])",
        "os.rename(sys.argv[1], sys.argv[2])",
        "os.link(sys.argv[1], sys.argv[1] + '2')",
        "os.symlink(sys.argv[2], sys.argv[1] + '2')",
        "os.mkdir(sys.argv[1] + '2')",
        "os.mkfifo(sys.argv[1] + '2')",
    ],
)
def test_a_confined_process_changes_no_file_but_those_it_may(tmp_path: Path, deed: str) -> None:
    profile, answers = tmp_path / "profile", tmp_path / "answers"
    profile.write_text("mine")
    answers.touch()
    ended = _confined(deed, [answers], profile, answers)
    assert "PermissionError" in ended.stderr or "Invalid cross-device link" in ended.stderr, ended.stderr
    assert profile.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers", "profile"]


@needs_landlock
def test_its_threads_and_its_processes_write_none_either(tmp_path: Path) -> None:
    in_a_thread = "t = threading.Thread(target=lambda: open(sys.argv[1], 'w')); t.start(); t.join()"
    assert "PermissionError" in _confined(in_a_thread, [], tmp_path / "a").stderr
    _confined("os.system(f'echo x > {sys.argv[1]}')", [], tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_a_confined_process_writes_what_it_may_and_reads_everything(tmp_path: Path) -> None:
    answers, folder, other = tmp_path / "answers", tmp_path / "folder", tmp_path / "other"
    answers.touch()
    folder.mkdir()
    other.write_text("read")
    program = (
        "open(sys.argv[1], 'wb').write(b'x'); os.mkdir(sys.argv[2] + '/in'); open(sys.argv[2] + '/in/it', 'w').write('y'); "
        "os.rename(sys.argv[2] + '/in/it', sys.argv[2] + '/it'); assert open(sys.argv[3]).read() == 'read'; open(os.devnull, 'w')"
    )
    ended = _confined(program, [answers, folder], answers, folder, other)
    assert ended.returncode == 0, ended.stderr
    assert (answers.read_text(), (folder / "it").read_text()) == ("x", "y")


@pytest.mark.skipif(landlock_version() < 4, reason="this kernel's Landlock knows no TCP")
def test_a_confined_process_opens_no_connection() -> None:
    with_server = "s = socket.create_server(('127.0.0.1', 0))"
    assert "PermissionError" in _confined(with_server, []).stderr
    assert "PermissionError" in _confined("socket.create_connection(('127.0.0.1', 9))", []).stderr


def test_a_confined_process_takes_no_more_memory_than_allowed() -> None:
    assert "MemoryError" in _confined("bytearray(9 * 2**30)", []).stderr
