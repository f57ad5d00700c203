"""What the environment refuses is told with exit code 3, before any work, and never as a bug of tledge."""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tledge.cache import cache_root
from tledge.cli.console import run_guarded
from tledge.errors import EnvironmentFault, environment_fault

USER, ENVIRONMENT = 2, 3
BUILD = ("build", "--dataset", "digits", "--backbone", "lenet", "--max-epochs", "1", "--artifacts")


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without a home folder, as in a container that was started with a number for a user."""

    def unknown(uid: int) -> Any:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("HOME", "TLEDGE_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


@pytest.mark.usefixtures("homeless")
def test_a_user_without_a_home_folder_is_told_how_to_name_the_cache(
    tledge: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = tledge(*BUILD, tmp_path)
    assert outcome.code == ENVIRONMENT, outcome.err
    assert "no home folder is known for this user. Set TLEDGE_CACHE_DIR" in outcome.err
    assert "training" not in outcome.err
    monkeypatch.setenv("TLEDGE_CACHE_DIR", str(tmp_path / "cache"))
    assert cache_root() == tmp_path / "cache"


@pytest.mark.parametrize(
    ("options", "code", "named"),
    [
        (["--dataset", "~nosuchuser/x", "--backbone", "lenet"], USER, "data set ~nosuchuser/x"),
        (["--dataset", "digits", "--backbone", "~nosuchuser/x"], USER, "backbone ~nosuchuser/x"),
        (
            ["--dataset", "digits", "--backbone", "keras:MobileNetV2", "--weights", "~nosuchuser/x.h5"],
            USER,
            "--weights ~nosuchuser/x.h5",
        ),
    ],
)
def test_a_home_folder_of_nobody_is_named_with_the_option_that_speaks_of_it(
    tledge: Callable[..., Any], tmp_path: Path, options: list[str], code: int, named: str
) -> None:
    outcome = tledge("build", *options, "--artifacts", tmp_path)
    assert outcome.code == code, outcome.err
    assert f"{named}: no home folder is known for user nosuchuser" in outcome.err


def test_a_cache_in_a_home_folder_of_nobody_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLEDGE_CACHE_DIR", "~nosuchuser/x")
    with pytest.raises(EnvironmentFault, match=r"the cache ~nosuchuser/x: no home.* Set TLEDGE_CACHE_DIR"):
        cache_root()


def _run(*arguments: str, before: str = "", flags: tuple[str, ...] = (), **variables: str) -> Any:
    program = f"{before}\nfrom tledge.cli.main import main\nmain()"
    return subprocess.run(
        [sys.executable, *flags, "-c", program, *arguments],
        capture_output=True, text=True, check=False, env={**os.environ, **variables}, timeout=120,
    )  # fmt: skip


def test_too_little_address_space_is_told_before_tensorflow_would_end_the_process(tmp_path: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_AS, (2 * 10**9, 2 * 10**9))"
    ended = _run(*BUILD, str(tmp_path), before=limit)
    assert ended.returncode == ENVIRONMENT, ended.stderr
    assert "too little address space: TensorFlow needs about" in ended.stderr
    assert "ulimit -v unlimited" in ended.stderr


def test_a_python_without_docstrings_is_told(tmp_path: Path) -> None:
    ended = _run(*BUILD, str(tmp_path), flags=("-OO",))
    assert ended.returncode == ENVIRONMENT, ended.stderr
    assert "Drop PYTHONOPTIMIZE=2" in ended.stderr


@pytest.mark.parametrize(
    "error", ["ImportError('libx.so: no symbol')", "OSError('libx.so: no file')", "AttributeError('x')"]
)
def test_a_tensorflow_that_can_not_be_imported_is_told_with_what_it_said(tmp_path: Path, error: str) -> None:
    (tmp_path / "tensorflow.py").write_text(f"raise {error}\n")
    ended = _run(*BUILD, str(tmp_path / "artifacts"), PYTHONPATH=str(tmp_path))
    assert ended.returncode == ENVIRONMENT, ended.stderr
    assert f"TensorFlow can't be loaded ({error.partition('(')[0]}: " in ended.stderr
    assert "Install tledge and its libraries again" in ended.stderr


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.EMFILE, "Too many open files", "x"), "ulimit -n"),
        (RuntimeError("can't start new thread"), "no more threads"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "no more threads"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "too little memory"),
        (ImportError("libgomp.so.1: cannot open", name="sklearn"), "a library can't be loaded: libgomp"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/a/b"), "/a/b: No such file or directory"),
        (OSError(errno.EIO, "Input/output error", "/a/b"), "/a/b: Input/output error"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), "the working directory or TMPDIR"),
    ],
)
def test_a_refusal_of_the_system_is_told_by_its_name(error: Exception, told: str) -> None:
    fault = environment_fault(error)
    assert fault is not None
    assert told in str(fault)


def test_an_import_that_tledge_itself_gets_wrong_stays_a_bug() -> None:
    assert environment_fault(ImportError("cannot import name 'x'", name="tledge.run")) is None
    assert environment_fault(ValueError("x")) is None


def test_too_few_open_files_end_a_command_with_3(capfd: pytest.CaptureFixture[str]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def greedy() -> None:
        with contextlib.ExitStack() as stack:
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
            while True:
                stack.enter_context(Path(os.devnull).open("rb"))

    try:
        assert run_guarded(greedy) == ENVIRONMENT
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "the system opens no more files for this process. Allow more: ulimit -n 1024" in capfd.readouterr().err


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_locks_is_told_before_anything_is_read(
    tledge: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(handle: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    outcome = tledge(*BUILD, tmp_path / "artifacts", "--run", "x")
    assert outcome.code == ENVIRONMENT, outcome.err
    assert f"{tmp_path / 'artifacts'}: its file system has no locks of files" in outcome.err
    assert "opening the data set" not in outcome.err
    assert [path.name for path in (tmp_path / "artifacts").iterdir()] == [".tledge"]
