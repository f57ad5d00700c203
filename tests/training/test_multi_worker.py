"""Two processes of ``tledge build --strategy multi-worker`` on this machine train one network."""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from event_files import epochs_told

from tledge.backbones import open_backbone
from tledge.classifier.network import HeadShape, classifier
from tledge.datasets import open_source
from tledge.datasets.prepare import prepare_dataset
from tledge.outputs import MARK
from tledge.progress import Silent
from tledge.training import by_network
from tledge.training.checkpoint import STATE, Checkpoint
from tledge.training.loop import train_network
from tledge.training.method import Task
from tledge.training.placement import Workers
from tledge.training.resolve import resolve

pytestmark = pytest.mark.long  # each case starts several processes that train together

RECIPE = {"batch_size": 16, "max_epochs": 12, "patience": 12, "dropout": 0.0, "average_decay": 0.9}
# A suite that a shell runs in the background ignores SIGINT, and so would the command that it starts.
HEED = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from tledge.cli.main import main; main()"
)
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
    """Start worker ``index`` of two: a build of the photos, or ``--resume``. Both share the artifacts and the cache.

    ``path``: a folder in which Python looks for packages first.
    """
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    cluster = {"worker": [f"127.0.0.1:{server.getsockname()[1]}" for server in servers]}
    for server in servers:
        server.close()
    begun: list[subprocess.Popen[str]] = []

    def start(
        index: int, run: str, *options: str, resume: bool = False, path: Path | None = None
    ) -> subprocess.Popen[str]:
        config = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})
        what = ["--dataset", str(folder / "photos"), "--backbone", "lenet", "--strategy", "multi-worker", *OPTIONS]
        command = [sys.executable, "-c", HEED, "build", "--artifacts", str(folder / "artifacts"), "--run", run]
        first = {"PYTHONPATH": os.pathsep.join(filter(None, [str(path), os.environ.get("PYTHONPATH")]))} if path else {}
        process = subprocess.Popen(
            [*command, *(["--resume"] if resume else what), *options],
            env={**os.environ, "TF_CONFIG": config, "TLEDGE_CACHE_DIR": str(folder / "cache"), **first},
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
    """The run ``both``, finished after its chief was killed; its event files are in ``logs``."""
    first, second = worker(0, "both", "--tensorboard", str(folder / "logs")), worker(1, "both")
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
    assert json.loads(resumed.other.out) == {"run": None, "folder": None, "manifest": None, "warnings": []}
    assert sorted(path.name for path in (folder / "artifacts").iterdir()) == [MARK, "both", "latest"]
    assert list((folder / "cache" / "scratch").iterdir()) == []


def test_a_training_whose_chief_was_killed_goes_on_from_its_last_epoch(folder: Path, resumed: Broken) -> None:
    first, then = epochs_told(folder / "logs" / "both")
    kept = resumed.num_epochs_kept
    assert first[:kept] == list(range(1, kept + 1))
    assert then == list(range(kept + 1, 13))


@pytest.mark.usefixtures("empty_cache", "resumed")
def test_two_workers_train_what_one_process_trains_on_both_ones_photos(folder: Path, tmp_path: Path) -> None:
    from tledge.tensorflow_setup import tensorflow

    tf = tensorflow(0)
    data = prepare_dataset(open_source(str(folder / "photos")), 28, 0, Silent())
    assert len(data.splits.rows["train"]) % 2 == 0, "with an odd number one photo counts twice"
    assert len(data.splits.rows["validation"]) % 2 == 1, "one worker scores one more than the other"
    recipe = resolve("scratch", RECIPE)
    task = Task(open_backbone("lenet", seed=0), data, recipe, 0, tmp_path, None, Silent())
    whole = by_network._photos(task, Workers())
    half = replace(task, recipe=resolve("scratch", {**RECIPE, "batch_size": RECIPE["batch_size"] / 2}))
    halves = [by_network._photos(half, Workers(index, 2)) for index in range(2)]

    def both(epoch: int) -> Any:
        """In every step what the two workers take in theirs: the mean of their gradients is that of all the photos."""
        pairs = tf.data.Dataset.zip(tuple(one.train(epoch) for one in halves))
        return pairs.map(lambda *two: tuple(tf.concat(parts, 0) for parts in zip(*two, strict=True)))

    network = classifier(task.backbone, HeadShape.of(recipe.head, 2, recipe.dropout), 0, keeps_statistics=False)
    assert whole.num_steps > 3
    alone = train_network(network, replace(whole, train=both), recipe, Silent(), Checkpoint(None, ""))
    written = (folder / "artifacts" / "both" / "history.csv").read_text().splitlines()
    found = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(written)]
    assert len(found) == len(alone.history) == 12
    for one, other in zip(found, alone.history, strict=True):
        for name in ("loss", "val_loss"):
            assert one[name] == pytest.approx(other[name], abs=2e-3)  # sums in another order


def _hear(process: subprocess.Popen[str], sentence: str) -> None:
    """Read what a worker says until it says this."""
    assert process.stderr
    while (line := process.stderr.readline()) and sentence not in line:
        pass
    assert line


def test_a_worker_that_waits_for_another_can_be_stopped(worker: Start) -> None:
    waiting = worker(1, "alone")
    _hear(waiting, "waiting for all 2 workers")
    waiting.terminate()
    assert waiting.wait(10) == -signal.SIGTERM


@pytest.mark.parametrize(
    ("where_the_other_is", "waits"),
    [
        ("worker 1 of 2", "waiting until the other workers have read their data"),
        ("training the head", "waiting until the other workers are ready to train"),
    ],
)
def test_a_worker_that_waits_for_anothers_preparation_hears_ctrl_c(
    folder: Path, worker: Start, where_the_other_is: str, waits: str
) -> None:
    # Given last, it counts. A network that was trained before is given a head first, by each worker alone.
    options = ("--backbone", "bundled", "--recipe", "best")
    waiting, slow = (worker(index, "slow", *options) for index in range(2))
    _hear(slow, where_the_other_is)
    slow.send_signal(signal.SIGSTOP)
    _hear(waiting, waits)
    time.sleep(0.5)  # into the wait
    waiting.send_signal(signal.SIGINT)
    assert waiting.wait(5) == 130  # TensorFlow itself misses a worker after ten seconds
    assert waiting.stderr
    assert "interrupted" in waiting.stderr.read()
    assert not list((folder / "artifacts").glob("*slow*"))
    slow.kill()


@pytest.mark.parametrize("what", ["options", "versions"])
def test_workers_that_are_not_alike_all_say_so(folder: Path, worker: Start, what: str) -> None:
    other = folder / "other"
    (other / "pillow-1.0.dist-info").mkdir(parents=True, exist_ok=True)
    (other / "pillow-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: pillow\nVersion: 1.0\n")
    differing = worker(1, "differ", "--seed", "1") if what == "options" else worker(1, "differ", path=other)
    for process in (worker(0, "differ"), differing):
        outcome = _ended(process)
        assert outcome.code == 3, outcome.err
        assert "not about to train the same" in outcome.err
    assert not list((folder / "artifacts").glob("*differ*"))
