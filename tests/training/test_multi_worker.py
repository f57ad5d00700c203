"""Two processes of ``tledge build --strategy multi-worker`` on this machine train one network."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tledge.run import open_run
from tledge.training.build import build
from tledge.training.checkpoint import STATE
from tledge.training.recipe import resolve

# All photos in every step, so that no order matters: the mean of two halves' gradients is the whole's.
RECIPE = {"batch_size": 128, "max_epochs": 12, "patience": 12, "dropout": 0.0, "average_decay": 0.9}
OPTIONS = [f"--{key.replace('_', '-')}={value}" for key, value in RECIPE.items()]
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, photo_bytes: Callable[..., bytes]) -> Path:
    """A folder with class folders of photos, ``photos``."""
    folder = tmp_path_factory.mktemp("workers")
    for number in range(79):
        label = folder / "photos" / ("cat" if number < 40 else "dog")
        label.mkdir(parents=True, exist_ok=True)
        (label / f"{number}.png").write_bytes(photo_bytes(number))
    return folder


@pytest.fixture(scope="module")
def worker(folder: Path) -> Iterator[Start]:
    """Start worker ``index`` of two: a build of the photos, or ``--resume``. Both share the artifacts and the cache."""
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    cluster = {"worker": [f"127.0.0.1:{server.getsockname()[1]}" for server in servers]}
    for server in servers:
        server.close()
    begun: list[subprocess.Popen[str]] = []

    def start(index: int, run: str, *options: str, resume: bool = False) -> subprocess.Popen[str]:
        config = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})
        what = ["--dataset", str(folder / "photos"), "--backbone", "lenet", "--strategy", "multi-worker", *OPTIONS]
        command = [sys.executable, "-m", "tledge", "build", "--artifacts", str(folder / "artifacts"), "--run", run]
        process = subprocess.Popen(
            [*command, *(["--resume"] if resume else what), *options],
            env={**os.environ, "TF_CONFIG": config, "TLEDGE_CACHE_DIR": str(folder / "cache")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        begun.append(process)
        return process

    yield start
    for process in begun:
        process.kill()
        process.communicate()


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    code: int
    out: str
    err: str


def _ended(process: subprocess.Popen[str]) -> Ended:
    out, err = process.communicate(timeout=240)
    return Ended(process.returncode, out, err)


@dataclass(frozen=True)
class Broken:
    """A training whose chief was killed, and how it was resumed."""

    left: Ended
    num_epochs_kept: int
    chief: Ended
    other: Ended


@pytest.fixture(scope="module")
def resumed(folder: Path, worker: Start) -> Broken:
    """The run ``both``, finished after its chief was killed."""
    first, second = (worker(index, "both") for index in range(2))
    state = folder / "artifacts" / ".unfinished-both" / STATE
    deadline = time.monotonic() + 180
    while not state.is_file() and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    first.kill()
    left = _ended(second)
    with np.load(state) as stored:
        num_epochs = bytes(stored["progress"]).count(b"val_loss")
    # Another machine need not have the state: there the build is started as it was before.
    chief, other = worker(0, "both", resume=True), worker(1, "both", "--json")
    return Broken(left, num_epochs, _ended(chief), _ended(other))


def test_a_worker_whose_chief_dies_ends_and_says_so(resumed: Broken) -> None:
    assert resumed.left.code == 3, resumed.left.err
    assert "worker 1 of 2" in resumed.left.err
    assert "another worker ended" in resumed.left.err
    assert 1 <= resumed.num_epochs_kept < 12


def test_the_chief_alone_writes_the_run(folder: Path, resumed: Broken) -> None:
    assert resumed.chief.code == 0, resumed.chief.err
    assert "worker 0 of 2, the chief" in resumed.chief.err
    assert "run both: test accuracy" in resumed.chief.out
    assert resumed.other.code == 0, resumed.other.err
    assert json.loads(resumed.other.out) == {"run": None, "folder": None, "manifest": None}
    assert sorted(path.name for path in (folder / "artifacts").iterdir()) == ["both", "latest"]
    assert list((folder / "cache" / "scratch").iterdir()) == []


def test_two_workers_train_what_one_process_trains(folder: Path, resumed: Broken, tmp_path: Path) -> None:
    both = open_run(folder / "artifacts", "both")
    alone = build(
        str(folder / "photos"), backbone="lenet", recipe=resolve("scratch", RECIPE), run="alone", artifacts=tmp_path
    )
    assert alone is not None
    splits = both.manifest.splits
    assert splits == alone.manifest.splits
    assert splits["train"].num_photos % 2 == 0, "with an odd number one photo counts twice"
    assert splits["validation"].num_photos % 2 == 1, "one worker scores one more than the other"
    found, expected = (np.loadtxt(run.folder / "history.csv", delimiter=",", skiprows=1) for run in (both, alone))
    assert len(found) == 12
    np.testing.assert_allclose(found[:, [1, 3]], expected[:, [1, 3]], atol=2e-3)  # losses: sums in another order


def test_a_worker_that_waits_for_another_can_be_stopped(worker: Start) -> None:
    waiting = worker(1, "alone")
    assert waiting.stderr
    while (line := waiting.stderr.readline()) and "waiting for all 2 workers" not in line:
        pass
    waiting.terminate()
    assert waiting.wait(10) == -signal.SIGTERM


def test_workers_that_were_told_different_things_all_say_so(folder: Path, worker: Start) -> None:
    for process in (worker(0, "differ"), worker(1, "differ", "--seed", "1")):
        outcome = _ended(process)
        assert outcome.code == 3, outcome.err
        assert "not about to train the same" in outcome.err
    assert not list((folder / "artifacts").glob("*differ*"))
