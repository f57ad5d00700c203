"""What tledge doctor tells of a machine, and of one that would stop a build: by the command itself, in its own process."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tledge.doctor import requirements
from tledge.doctor.asking import answers
from tledge.doctor.checks import clock, folders, limits, locks
from tledge.doctor.private import without_names
from tledge.doctor.requirements import module, required
from tledge.locks import held

ENVIRONMENT = 3
_LIMITS = """
from tledge.doctor.checks.limits import CHECK
(found,) = (finding for finding in CHECK.find(None) if finding.name == "address space")
print(found.value, found.remedy)
"""
COMMAND = [sys.executable, "-O", "-P", "-m", "tledge", "doctor"]


@pytest.fixture
def empty_libraries(tmp_path: Path) -> Path:
    """A folder for PYTHONPATH with an empty module for each library: what is loaded is then a matter of the test."""
    folder = tmp_path / "libraries"
    for one in [*required(), *(one for extra in requirements.extras() for one in required(extra))]:
        name = module(one.name).split(".")[0]
        if name not in ("numpy", "pydantic", "rich", "typer", "packaging"):  # the command itself needs these
            (folder / name).mkdir(parents=True)
            (folder / name / "__init__.py").touch()
    for name in ("PIL/Image", "ai_edge_litert/interpreter"):
        (folder / f"{name}.py").touch()
    return folder


def _num_loaded() -> int:
    optional = [one for extra in requirements.extras() for one in required(extra)]
    return len(required()) + sum(requirements.version(one.name) is not None for one in optional)


def _run(
    folder: Path, *arguments: str | Path, before: tuple[str, ...] = (), **variables: str
) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "TLEDGE_CACHE_DIR")}
    return subprocess.run(
        [*before, *COMMAND, *map(str, arguments)], cwd=folder, env={**environment, **variables},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def _doctor(folder: Path, *arguments: str | Path, **variables: str) -> tuple[int, Any]:
    ended = _run(folder, "--json", *arguments, **variables)
    assert ended.returncode in (0, ENVIRONMENT), ended.stderr
    told = json.loads(ended.stdout)
    assert told["stops_a_build"] == (ended.returncode == ENVIRONMENT)
    return ended.returncode, {finding["name"]: finding for finding in told["findings"]}


def test_a_machine_that_builds_has_no_problem_and_is_told_without_names(tmp_path: Path) -> None:
    secret = tmp_path / "alice-of-acme"
    secret.mkdir()
    for name in ("types", "json", "numpy", "tensorflow", "onnx"):  # what lies in the working directory is never run
        (secret / f"{name}.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')\nraise ImportError('trap')\n")
    variables = {"TLEDGE_CACHE_DIR": str(secret / "cache"), "USER": "alice", "HTTPS_PROXY": "http://alice:word@acme"}
    code, found = _doctor(secret, "--artifacts", secret / "runs", **variables)
    assert [finding for finding in found.values() if finding["problem"]] == []
    assert code == 0
    assert found["libraries that load"]["value"] == f"{_num_loaded()} of {_num_loaded()}"
    assert found["device of TensorFlow"]["value"].startswith(("CPU", "GPU: "))
    assert "litert, onnxruntime" in found["runtimes"]["value"]
    assert found["folder of runs"]["value"].startswith("./runs: ")
    assert found["folder of caches"]["value"].startswith("$TLEDGE_CACHE_DIR: ")
    assert "HTTPS_PROXY" in found["variables that are set"]["value"]
    assert [
        name for name in ("alice", "acme", "word", str(Path.home()), os.uname().nodename) if name in str(found)
    ] == []
    assert not (tmp_path / "sprung").exists()
    assert [path.name for path in secret.iterdir() if path.suffix != ".py"] == []  # what was tried is gone


def test_a_library_that_crashes_or_raises_or_exits_is_a_finding(tmp_path: Path, empty_libraries: Path) -> None:
    for name, program in (
        ("tensorflow", "import os\nos.abort()"),
        ("onnx", "raise ImportError('libonnx.so: no such file')"),
        ("optuna", "print('hello')\nraise SystemExit(0)"),
        ("pyarrow", "import os\nos._exit(0)"),
    ):
        (empty_libraries / name / "__init__.py").write_text(program)
    old = empty_libraries / "scipy-1.0.dist-info"
    old.mkdir()
    (old / "METADATA").write_text("Metadata-Version: 2.1\nName: scipy\nVersion: 1.0\n")
    code, found = _doctor(tmp_path, PYTHONPATH=str(empty_libraries))
    assert code == ENVIRONMENT
    loads = found["libraries that load"]
    assert loads["value"] == f"{_num_loaded() - 4} of {_num_loaded()}"
    assert "tensorflow: its process was ended by SIGABRT" in loads["problem"]
    assert "onnx: ImportError: libonnx.so: no such file" in loads["problem"]
    assert "optuna: SystemExit: 0" in loads["problem"]
    assert "pyarrow: its process ended with exit code 0" in loads["problem"]
    assert loads["remedy"]
    assert found["device of TensorFlow"]["value"] == "not known, as TensorFlow does not load"
    assert "scipy is 1.0, and tledge needs" in found["libraries"]["problem"]
    assert "scipy 1.0 (tested: " in found["not the tested version"]["value"]


def test_a_library_that_hangs_is_given_up_and_those_after_it_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hanging.py").write_text("import time\ntime.sleep(600)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = list(answers(["json", "hanging", "csv"], longest_s=3))
    assert [(answer.name, answer.problem) for answer in found] == [
        ("json", None), ("hanging", "no answer within 3 s"), ("csv", None),
    ]  # fmt: skip


def test_a_user_without_a_home_and_a_file_in_a_folders_place_are_problems_of_the_machine(
    tmp_path: Path, empty_libraries: Path
) -> None:
    unshare = shutil.which("unshare")
    nobody = (unshare or "unshare", "--map-user=54321")
    if unshare is None or subprocess.run([*nobody, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs unshare --map-user, to be a user that the system does not know")
    (tmp_path / "artifacts").write_text("a file")
    ended = _run(tmp_path, before=nobody, PYTHONPATH=str(empty_libraries))
    assert (ended.returncode, ended.stderr) == (ENVIRONMENT, "")
    lines = ended.stdout.splitlines()
    runs, caches = lines.index("folder of runs: artifacts"), lines.index("folder of caches: no folder")
    assert lines[runs + 1].startswith("PROBLEM: can't write artifacts: File exists. Set --artifacts to a folder")
    assert lines[caches + 1].startswith("PROBLEM: ")
    assert "TLEDGE_CACHE_DIR" in lines[caches + 1]
    assert lines[-1] == "3 lines name problems that stop a build"  # the third: an empty tensorflow does not load


@pytest.mark.parametrize(
    ("limit", "name"), [(resource.RLIMIT_NOFILE, "open files"), (resource.RLIMIT_FSIZE, "size of a file")]
)
def test_a_limit_that_is_too_low_is_named_with_the_command_that_raises_it(
    limit: int, name: str, tmp_path: Path
) -> None:
    before = resource.getrlimit(limit)
    resource.setrlimit(limit, (50, before[1]))
    try:
        found = {finding.name: finding for finding in limits.CHECK.find(tmp_path)}
    finally:
        resource.setrlimit(limit, before)
    assert found[name].problem
    assert found[name].remedy.startswith("Run: ulimit -")


def test_too_little_address_space_is_named_beside_the_libraries_that_do_not_load(tmp_path: Path) -> None:
    program = f"ulimit -v 2000000; exec {sys.executable} -c '{_LIMITS}'"
    ended = subprocess.run(["sh", "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout == "2.0 GB Run: ulimit -v unlimited\n"


def test_a_clock_is_judged_by_the_release_and_by_the_files_of_tledge() -> None:
    assert clock.judged(now=2e9, installed=1.9e9).problem is None
    assert "before the release" in (clock.judged(now=0, installed=0).problem or "")
    assert "10 days newer" in (clock.judged(now=2e9, installed=2e9 + 864_000).problem or "")


def test_a_folder_that_cannot_be_made_is_named_with_its_setting() -> None:
    (runs, *_) = folders.CHECK.find(Path("/proc/no/such/folder"))
    assert runs.name == "folder of runs"
    assert "/proc/no/such/folder" in (runs.problem or "")
    assert "--artifacts" in (runs.problem or "")


def test_locks_are_counted_by_whether_a_process_holds_them(tmp_path: Path, empty_cache: Path) -> None:
    (tmp_path / "left.lock").touch()
    with held(tmp_path / "digits.lock"):
        (found,) = locks.CHECK.find(tmp_path)
    assert found.value == "1 held by processes at work, 1 left by dead ones"
    assert (tmp_path / "left.lock").exists()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/homes/ann/photos/rose", "~/photos/rose"),
        ("/homes/annabel", "/homes/annabel"),
        ("/scratch/ann/x, /scratch/annex", "/scratch/USER/x, /scratch/annex"),
        ("/secret/cache/pixels", "$TLEDGE_CACHE_DIR/pixels"),
    ],
)
def test_homes_users_and_values_of_variables_are_left_out_of_a_text(
    text: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("HOME", "/homes/ann"), ("USER", "ann"), ("TLEDGE_CACHE_DIR", "/secret/cache/")):
        monkeypatch.setenv(name, value)
    assert without_names(text) == shown


def test_every_required_library_has_a_tested_version_in_the_range() -> None:
    pinned = requirements.tested()
    assert [one.name for one in required() if not one.specifier.contains(pinned.get(one.name, "0"))] == []
