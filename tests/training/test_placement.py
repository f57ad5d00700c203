"""Where a network is trained: what workers share out, what they refuse, and that two devices train as one does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tledge.backbones import open_backbone
from tledge.backbones.cuts import cut_below, split
from tledge.datasets import open_source
from tledge.datasets.prepare import prepare_dataset
from tledge.errors import EnvironmentFault, InputError
from tledge.progress import Silent
from tledge.training import by_network
from tledge.training.method import Task
from tledge.training.placement import EXAMPLE, Workers, connected, start, workers
from tledge.training.recipe import RECIPES
from tledge.training.resolve import resolve

TOGETHER = resolve("scratch", {"strategy": "multi-worker"})


@pytest.mark.parametrize("num_rows", [1, 12, 13, 14])
def test_workers_train_on_equally_many_photos_and_score_each_photo_once(num_rows: int) -> None:
    rows = np.random.default_rng(0).permutation(num_rows)
    team = [Workers(index, 3) for index in range(3)]
    trained_on = [worker.to_train_on(rows) for worker in team]
    assert len({len(share) for share in trained_on}) == 1
    assert set(np.concatenate(trained_on)) == set(rows)
    assert sum(map(len, trained_on)) - num_rows < 3
    scored = np.concatenate([worker.to_score(rows) for worker in team])
    assert sorted(scored) == sorted(rows)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (None, "needs TF_CONFIG"),
        ("{", "invalid JSON"),
        ("{}", "cluster: field required"),
        ('{"cluster": {"worker": []}, "task": {"type": "worker", "index": 0}}', "cluster.worker"),
        ('{"cluster": {"worker": ["a"]}, "task": {"type": "worker", "index": 0}}', "cluster.worker.0"),
        ('{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "worker", "index": 0}}', "cluster.ps"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "evaluator", "index": 0}}', "task.type"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}', "an index from 0 to 1"),
        ('{"cluster": {"worker": ["a:1", "a:1"]}, "task": {"type": "worker", "index": 0}}', "use different addresses"),
    ],
)
def test_workers_without_a_good_tf_config_are_shown_one(
    tledge: Callable[..., Any], monkeypatch: Any, tmp_path: Path, config: str | None, said: str
) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if config is not None:
        monkeypatch.setenv("TF_CONFIG", config)
    where = ("--dataset", "digits", "--backbone", "lenet", "--artifacts", tmp_path)
    outcome = tledge("build", "--strategy", "multi-worker", *where)
    assert outcome.code == 2
    assert said in outcome.err
    assert EXAMPLE in outcome.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch_size": 63}, "--batch-size 63: 2 copies of the network share each batch. Use a multiple of 2"),
        ({"time_budget_s": 60.0}, "Say --unfreeze-from and --max-epochs"),
    ],
)
def test_what_workers_can_not_share_is_refused_before_they_wait(
    monkeypatch: Any, options: dict[str, float], said: str
) -> None:
    monkeypatch.setenv("TF_CONFIG", EXAMPLE)
    with pytest.raises(InputError, match=said):
        start(TOGETHER.model_copy(update=options), 0, {}, Silent())


def test_a_process_that_has_computed_already_can_not_become_a_worker(monkeypatch: Any) -> None:
    from tledge.tensorflow_setup import tensorflow

    tensorflow().constant(1)
    monkeypatch.setenv("TF_CONFIG", EXAMPLE)
    with pytest.raises(InputError, match="build in a new process"):
        workers(TOGETHER)


def test_whoever_trains_alone_needs_no_tf_config(monkeypatch: Any) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    alone = start(RECIPES["scratch"], 0, {}, Silent())
    assert alone.is_chief
    assert alone.from_chief(b"kept") == b"kept"
    rows = np.arange(5)
    assert np.array_equal(alone.to_train_on(rows), rows)


@pytest.mark.parametrize("method", ["whole", "cut"])
def test_workers_read_their_own_photos_and_together_all_of_them(method: str, tmp_path: Path) -> None:
    data = prepare_dataset(open_source("digits"), 28, 0, Silent())
    backbone = open_backbone("lenet", seed=0)
    recipe = RECIPES["scratch"].model_copy(update={"method": method, "unfreeze_from": "c5"})
    task = Task(backbone, data, recipe, 0, tmp_path, None, Silent())
    lower, _ = split(backbone.graph, cut_below(backbone.graph, "c5"))
    trained_on, scored = [], []
    for index in range(2):
        (tmp_path / str(index)).mkdir()
        if method == "cut":
            read = by_network._stored_activations(task, recipe, lower, tmp_path / str(index), Workers(index, 2))
        else:
            read = by_network._photos(task, Workers(index, 2))
        trained_on.append(sum(np.sum(labels, axis=0) for _, labels, _ in read.train(1)))
        scored.append(sum(np.sum(labels, axis=0) for _, labels in read.validation))
    rows = data.splits.rows
    twice = sum(trained_on) - np.bincount(data.labels[rows["train"]])
    assert trained_on[0].sum() == trained_on[1].sum()
    assert twice.min() == 0
    assert twice.sum() == len(rows["train"]) % 2
    assert np.array_equal(sum(scored), np.bincount(data.labels[rows["validation"]]))


@pytest.mark.long  # it trains twice
def test_a_network_mirrored_on_two_devices_is_trained_as_on_one(tmp_path: Path) -> None:
    # In a process of its own: how many devices a CPU is taken for can be said only before TensorFlow computes.
    program = """
import sys
from pathlib import Path
import tledge
from tledge.tensorflow_setup import tensorflow
from tledge.training.resolve import resolve

tf = tensorflow()
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
options = {"max_epochs": 2, "dropout": 0.0, "average_decay": 0.9}
for strategy in ("none", "mirrored"):
    recipe = resolve("scratch", {**options, "strategy": strategy})
    tledge.build("digits", backbone="lenet", recipe=recipe, run=strategy, artifacts=Path(sys.argv[1]))
print(tf.distribute.MirroredStrategy().num_replicas_in_sync)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "2"
    one, two = (np.loadtxt(tmp_path / name / "history.csv", delimiter=",", skiprows=1) for name in ("none", "mirrored"))
    assert one.shape == (2, 5)
    # Sums in another order, of batches divided by two: an epoch's last is an odd number of photos.
    np.testing.assert_allclose(two, one, atol=0.01)


@pytest.mark.parametrize(
    "name", ["UnavailableError", "AbortedError", "CancelledError", "DeadlineExceededError", "FailedPreconditionError"]
)
def test_what_tensorflow_says_of_a_worker_that_is_gone_is_told_to_workers_alone(name: str) -> None:
    from tledge.tensorflow_setup import tensorflow

    tf = tensorflow()
    error = getattr(tf.errors, name)(None, None, "the other one was started again")
    with (
        pytest.raises(EnvironmentFault, match="another worker ended"),
        connected(Workers(0, 2, tf.distribute.get_strategy())),
    ):
        raise error
    with pytest.raises(type(error)), connected(Workers()):
        raise error
    internal = tf.errors.InternalError(None, None, "a fault of ours")
    with pytest.raises(tf.errors.InternalError), connected(Workers(0, 2, tf.distribute.get_strategy())):
        raise internal
