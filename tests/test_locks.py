"""A name is held by one process at a time, refused at once to others, and free as soon as its process is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tledge.errors import EnvironmentFault, InputError
from tledge.locks import Held, abandoned, held, reserved, reserved_new

SHARED = """
import os, sys
from pathlib import Path
from tledge.files import working_folder
from tledge.locks import reserved
root = Path(sys.argv[1])
os.setuid(12345)
with reserved(root, "dead", "at it"), working_folder(root, ".work-") as folder:
    print(sorted(path.name for path in root.iterdir() if not path.name.startswith(folder.name)))
try:
    with reserved(root, "alive", "at it"):
        pass
except Exception as error:
    print(error)
"""
HOLD = (
    "import sys, time\nfrom pathlib import Path\nfrom tledge.locks import reserved\n"
    "with reserved(Path(sys.argv[1]), 'digits', ''):\n    print('held', flush=True)\n    time.sleep(600)\n"
)


def _free(name: str) -> bool:
    return False


def test_a_name_is_refused_while_its_process_lives_and_free_when_it_was_killed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "held\n"
            with (
                pytest.raises(InputError, match="^another process is at it$"),
                reserved(tmp_path, "digits", "at it"),
            ):
                pass
            with reserved(tmp_path, "flowers", "at it"):  # another name
                pass
            with reserved_new(tmp_path, "digits", _free) as name:
                assert name == "digits-2"
        finally:
            process.send_signal(signal.SIGKILL)
    with reserved_new(tmp_path, "digits", _free) as name:
        assert name == "digits"
    assert list(tmp_path.iterdir()) == []


def test_what_killed_processes_left_is_removed_by_whoever_reserves_any_name_there(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f".reserved-dead-{number}.lock").touch()
    with reserved(tmp_path, "digits", "at it"):
        assert [path.name for path in tmp_path.iterdir()] == [".reserved-digits.lock"]
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_stands_is_passed_over_and_a_long_one_keeps_its_number(tmp_path: Path) -> None:
    stem = "d" * 100
    with reserved_new(tmp_path, stem, lambda name: name == stem) as name:
        assert name == f"{'d' * 98}-2"


def test_of_many_that_want_one_name_each_has_it_alone(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work(number: int) -> int:
        taken = 0
        while taken < 20:
            try:
                with held(tmp_path / "one.lock"):
                    inside.append(number)
                    most.append(len(inside))
                    inside.remove(number)
                    taken += 1
            except Held:
                pass
        return taken

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [20] * 4
    assert set(most) == {1}
    assert list(tmp_path.iterdir()) == []


def test_tidying_up_beside_it_never_refuses_a_free_name(tmp_path: Path) -> None:
    ended = threading.Event()

    def tidy() -> None:
        while not ended.is_set():
            for _ in abandoned(tmp_path, ".reserved-"):
                pass

    with ThreadPoolExecutor(2) as pool:
        tidying = [pool.submit(tidy) for _ in range(2)]
        try:
            for _ in range(100):
                with reserved(tmp_path, "digits", "at it"):
                    pass
        finally:
            ended.set()
    assert [one.result() for one in tidying] == [None, None]


def test_processes_that_this_one_starts_do_not_hold_its_names(tmp_path: Path) -> None:
    with reserved(tmp_path, "digits", "at it"):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        with reserved(tmp_path, "digits", "at it"):
            pass
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("elsewhere"), Path.mkdir], ids=["link", "folder"])
def test_what_stands_in_the_place_of_a_lock_is_left_alone_and_told(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    lock = tmp_path / ".reserved-digits.lock"
    make(lock)
    with (
        pytest.raises(EnvironmentFault, match="digits.lock: stands where tledge locks a name. Move it away"),
        reserved(tmp_path, "digits", "at it"),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [lock.name]


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder in which everyone may write, and remove only what is his; pytest's own folders are closed to others."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o1777)
        yield Path(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
@pytest.mark.parametrize("mode", [0o644, 0o666], ids=["that may be read", "that may be written"])
def test_a_lock_of_another_user_is_held_while_he_lives_and_free_when_he_is_dead(shared: Path, mode: int) -> None:
    (shared / ".work-his").mkdir()
    (shared / ".work-his" / "file").touch()
    alive = shared / ".reserved-alive.lock"
    with held(alive):
        for lock in (shared / ".reserved-dead.lock", shared / ".work-his.lock", alive):
            lock.touch()
            lock.chmod(mode)
        ended = subprocess.run([sys.executable, "-c", SHARED, shared], capture_output=True, text=True, check=False)
    listed = [alive.name, ".reserved-dead.lock", ".work-his", ".work-his.lock"]
    assert (ended.stdout, ended.stderr) == (f"{listed}\nanother process is at it\n", "")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
def test_a_lock_of_another_user_that_may_not_be_read_is_taken_for_held(shared: Path) -> None:
    lock = shared / ".reserved-his.lock"
    lock.touch()
    lock.chmod(0o600)
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom tledge.locks import reserved\nos.setuid(12345)\n"
        "with reserved(Path(sys.argv[1]), 'his', 'at it'):\n    pass\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, shared], capture_output=True, text=True, check=False)
    assert ended.stderr.splitlines()[-1] == "tledge.errors.InputError: another process is at it"


def test_a_folder_that_has_the_name_of_a_lock_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / "tledge-stranger.lock").mkdir()
    assert list(abandoned(tmp_path, "tledge-")) == []
