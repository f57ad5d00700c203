"""This module places a network for training: on one device, on several devices or machines, or in float16 on a GPU."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field, ValidationError

from tledge.backbones import Backbone, Opaque, rebuild_flat
from tledge.classifier.network import HeadShape, with_head
from tledge.errors import EnvironmentFault, InputError, first_problem
from tledge.printable import sentence
from tledge.progress import Progress
from tledge.tensorflow_setup import tensorflow
from tledge.training.recipe import Recipe

Indices = npt.NDArray[np.int64]
_OPAQUE = "An opaque backbone can't be copied to several devices or to float16: drop --strategy and --mixed-precision."
EXAMPLE = '{"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, "task": {"type": "worker", "index": 0}}'


@dataclass(frozen=True)
class Workers:
    """Workers are the processes that train one network together.

    This process is ``index`` of ``count``, and 0 is the chief. ``strategy`` is TensorFlow's, or None where this process
    trains alone.
    """

    index: int = 0
    count: int = 1
    strategy: Any = None

    @property
    def is_chief(self) -> bool:
        """Tell whether this worker writes the run."""
        return self.index == 0

    @property
    def num_replicas(self) -> int:
        """Return how many copies of the network share a batch: one per GPU of each worker, or one per worker."""
        return 1 if self.strategy is None else int(self.strategy.num_replicas_in_sync)

    def to_train_on(self, rows: Indices) -> Indices:
        """Return this worker's share of the training photos.

        All shares have the same size, for which up to ``count`` - 1 photos are taken twice.
        """
        return np.resize(rows, -(-len(rows) // self.count) * self.count)[self.index :: self.count]

    def to_score(self, rows: Indices) -> Indices:
        """Return this worker's share of the photos to score.

        Each photo has exactly one worker, so one share may have one photo more than another.
        """
        return rows[self.index :: self.count]

    def feed(self, dataset: Any) -> Any:
        """Wrap a dataset so that Keras trains on it as it is; the dataset has only this worker's batches.

        Keras would split an unwrapped dataset among the workers a second time.
        """
        return dataset if self.strategy is None else self.strategy.distribute_datasets_from_function(lambda _: dataset)

    def from_chief(self, data: bytes) -> bytes:
        """Return the chief's ``data``; all workers call it at the same point."""
        if self.strategy is None:
            return data
        size = int(self._sum(np.array([len(data) * self.is_chief]), of_chief=True)[0])
        words = np.zeros(-(-size // 8), np.int64)
        if self.is_chief:
            words.view(np.uint8)[:size] = np.frombuffer(data, np.uint8)
        return self._sum(words, of_chief=True).tobytes()[:size]

    def check_alike(self, identity: str) -> None:
        """Raise EnvironmentFault, on all workers, where one of them is about to train something else than the chief."""
        if self.strategy is None:
            return
        differs = self.from_chief(identity.encode()) != identity.encode()
        if self._sum(np.array([differs], np.int64), of_chief=False)[0]:
            raise EnvironmentFault(
                "the workers are not about to train the same: give each the same options, the same photos in the same "
                "order, the same backbone, and the same versions of tledge and its libraries"
            )

    def _sum(self, values: Indices, *, of_chief: bool) -> Indices:
        """Sum the ``values`` of all copies on all workers; with ``of_chief`` only the chief's first copy adds them."""
        tf = tensorflow()

        def mine() -> Any:
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            return tf.where(tf.equal(replica, 0), values, 0) if of_chief else tf.constant(values)

        with connected(self):
            total = self.strategy.reduce("SUM", self.strategy.run(mine), axis=None)
            return np.asarray(total.numpy(), np.int64)


def start(recipe: Recipe, seed: int, versions: Mapping[str, str], progress: Progress) -> Workers:
    """Meet the other workers of a recipe with strategy multi-worker, before TensorFlow computes anything.

    The function waits for them as long as it takes. ``versions`` names the version of everything that a training's
    numbers may depend on.

    Raises:
        InputError: workers can't share the recipe, or TF_CONFIG is wrong, see :func:`workers`.
        EnvironmentFault: a worker was given another recipe or seed, or has other versions.
    """
    if recipe.strategy != "multi-worker":
        return Workers()
    cluster, _ = _cluster()
    if recipe.time_budget_s:
        raise InputError(
            "--time-budget: each worker would keep to a clock of its own. Say --unfreeze-from and --max-epochs."
        )
    gpus = tensorflow().config.list_physical_devices("GPU")
    num_replicas = len(cluster) * max(1, len(gpus))
    if recipe.batch_size % num_replicas:
        raise InputError(
            f"--batch-size {recipe.batch_size}: {num_replicas} copies of the network share each batch. "
            f"Use a multiple of {num_replicas}."
        )
    with _interruptible():
        progress.say(f"waiting for all {len(cluster)} workers ...")  # no bar: a signal would leave the cursor hidden
        met = workers(recipe)
        met.check_alike(json.dumps([recipe.as_json(), seed, dict(versions)], sort_keys=True))
    progress.say(f"worker {met.index} of {met.count}{', the chief: it writes the run' if met.is_chief else ''}")
    return met


def workers(recipe: Recipe) -> Workers:
    """Return the workers that train ``recipe``.

    They are this process alone, or with strategy multi-worker the processes that TF_CONFIG names. Raises InputError for
    a TF_CONFIG that is missing or wrong, or where TensorFlow computed something before. Raises EnvironmentFault where
    this worker can't listen at its address, or the others did not come.
    """
    if recipe.strategy != "multi-worker":
        return Workers()
    cluster, index = _cluster()
    return Workers(index, len(cluster), _multi_worker(os.environ["TF_CONFIG"]))


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C and similar signals end the process at once.

    While TensorFlow waits for the other workers, Python handles no signal.
    """
    handlers = {}
    if threading.current_thread() is threading.main_thread():
        heard = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        handlers = {number: handler for number in heard if callable(handler := signal.getsignal(number))}
    for number in handlers:
        signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def connected(met: Workers) -> Iterator[None]:
    """Raise EnvironmentFault where TensorFlow finds that another worker is gone."""
    tf = tensorflow()
    try:
        yield
    except (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.CancelledError,
        tf.errors.DeadlineExceededError,
        tf.errors.FailedPreconditionError,  # raised for a worker that was started again
    ) as error:
        if met.strategy is None:
            raise
        raise EnvironmentFault(
            "another worker ended, or can't be reached any more. Start all workers again. The chief goes on from its last "
            "epoch with tledge build --resume."
        ) from error


def require_copyable(backbone: Backbone, recipe: Recipe, progress: Progress) -> None:
    """Raise InputError, before any photo is read, where the recipe needs copies of a backbone that proves opaque.

    The layers of a Hub module are compared with the module on noise here. They are compared on photos once those are
    read.
    """
    if backbone.structure is not None or (recipe.strategy == "none" and not recipe.mixed_precision):
        return
    size = backbone.input_size
    with progress.step("looking for the backbone's layers"):
        flat = backbone.flat(np.empty((0, size, size, 3), np.uint8))
    if isinstance(flat, Opaque):
        raise InputError(f"{sentence(flat.reason)} {_OPAQUE}")


@contextlib.contextmanager
def placed(network: Any, backbone: Backbone, head: HeadShape, recipe: Recipe) -> Iterator[Any]:
    """Yield the network to train, within its strategy's scope; where needed it is a copy with the same weights.

    With several workers, all start from the chief's weights. Raises InputError for an opaque backbone, which can't be
    built a second time, and EnvironmentFault where another worker ends meanwhile.
    """
    if recipe.strategy == "none" and not recipe.mixed_precision:
        yield network
        return
    if backbone.structure is None:
        raise InputError(f"backbone {backbone.handle} is opaque. {_OPAQUE}")
    tf = tensorflow()
    import tf_keras

    met = workers(recipe)
    # This worker waits for the others here, where Python handles signals; while TensorFlow makes variables it does not.
    weights = _of_chief(met, network.get_weights())
    strategy = tf.distribute.MirroredStrategy() if recipe.strategy == "mirrored" else met.strategy
    policy = tf_keras.mixed_precision.global_policy()
    if recipe.mixed_precision:
        tf_keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        with connected(met), (strategy or tf.distribute.get_strategy()).scope():
            graph = rebuild_flat(backbone.structure)
            copy = with_head(graph.input, graph.output, head, seed=0)
            copy.set_weights(weights)
            yield copy
    finally:
        tf_keras.mixed_precision.set_global_policy(policy)


def _of_chief(met: Workers, weights: list[Any]) -> list[Any]:
    """Return the chief's weights for all workers.

    Another processor may compute weights that differ in the last digit, and the copies would never become equal.
    """
    out = io.BytesIO()
    np.savez(out, *weights)
    with np.load(io.BytesIO(met.from_chief(out.getvalue())), allow_pickle=False) as stored:
        return [stored[f"arr_{number}"] for number in range(len(weights))]


class _Cluster(BaseModel, extra="forbid"):
    worker: list[Annotated[str, Field(pattern=r"^.+:[0-9]+$")]] = Field(min_length=1)


class _Task(BaseModel):
    type: Literal["worker"]
    index: int = Field(ge=0)


class _Config(BaseModel):
    """This is the part of TF_CONFIG that tf.distribute reads; other keys belong to other programs."""

    cluster: _Cluster
    task: _Task


def _cluster() -> tuple[list[str], int]:
    """Return the workers' addresses from TF_CONFIG, and the index of this worker.

    Raises InputError for a TF_CONFIG that is missing or wrong.
    """
    text = os.environ.get("TF_CONFIG")
    remedy = f"For the first of two workers: TF_CONFIG='{EXAMPLE}'"
    if not text:
        raise InputError(f"--strategy multi-worker needs TF_CONFIG, which names the workers and this one. {remedy}")
    try:
        config = _Config.model_validate_json(text)
    except ValidationError as error:
        raise InputError(f"TF_CONFIG: {first_problem(error)}. {remedy}") from error
    addresses, index = config.cluster.worker, config.task.index
    if index >= len(addresses) or len(set(addresses)) < len(addresses):
        raise InputError(
            f"TF_CONFIG: worker {index} of {', '.join(addresses)}: use different addresses, and an index from 0 to "
            f"{len(addresses) - 1}. {remedy}"
        )
    return addresses, index


@functools.cache
def _multi_worker(config: str) -> Any:
    """Return the strategy that TF_CONFIG describes; ``config`` is its text.

    TensorFlow can be told of its workers only once per process, so the strategy is cached.
    """
    tf = tensorflow()
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except tf.errors.OpError as error:
        raise EnvironmentFault(
            f"this worker can't listen at its address, or the others did not come: {error.message.splitlines()[0]}. "
            "See that the ports of TF_CONFIG are free, and start all workers again"
        ) from error
    except RuntimeError as error:
        raise InputError(
            f"--strategy multi-worker: build in a new process, before TensorFlow computes anything ({error})"
        ) from error
