"""Trackers show a training while it runs, in addition to the run folder."""

from __future__ import annotations

import contextlib
import importlib.util
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from tledge.errors import EnvironmentFault
from tledge.files import make_folder, require_folder
from tledge.plain_path import plain_path
from tledge.records import Manifest

Row = dict[str, float]
_ANOTHER = "Name another folder with --tensorboard."


class Tracker(Protocol):
    """A tracker records the progress and the end of a training, in a service such as MLflow."""

    def epoch(self, number: int, row: Row) -> None:
        """Record an epoch that ended, where 1 is the first; ``row`` has the columns of history.csv."""

    def end(self, manifest: Manifest) -> None:
        """Record the final metrics of a run that is complete, and close the record."""

    def abandon(self) -> None:
        """Close the record of a training that ended without a run."""


class TensorBoard:
    """This tracker writes scalars of each epoch for ``tensorboard --logdir FOLDER``, which draws them as they come.

    The records are written directly. TensorFlow's own writer needs the package tensorboard, and puts the machine's name
    into the file's name.
    """

    def __init__(self, folder: Path, run: str) -> None:
        from tledge.tensorflow_setup import tensorflow

        make_folder(folder / run, _ANOTHER)
        with plain_path(folder / run) as path:  # the writer opens its file at once
            self._writer = tensorflow().io.TFRecordWriter(f"{path}/events.out.tfevents.{time.time_ns()}.tledge")
        self._write(0, {})

    def epoch(self, number: int, row: Row) -> None:
        curves = {}
        for name, value in row.items():
            split = "validation" if name.startswith("val_") else "train"
            curves[f"{name.removeprefix('val_')}/{split}"] = value
        self._write(number, curves)

    def end(self, manifest: Manifest) -> None:
        final = {f"final_accuracy/{split}": metrics.accuracy for split, metrics in manifest.metrics.items()}
        self._write(manifest.num_epochs, final)
        self._writer.close()

    def abandon(self) -> None:
        self._writer.close()

    def _write(self, step: int, scalars: Row) -> None:
        from tensorflow.core.framework.summary_pb2 import Summary
        from tensorflow.core.util.event_pb2 import Event

        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
        event = Event(wall_time=time.time(), step=step, summary=Summary(value=values))
        if not scalars:  # the first record of a file says how the others are to be read
            event = Event(wall_time=time.time(), file_version="brain.Event:2")
        self._writer.write(event.SerializeToString())
        self._writer.flush()


class MLflow:
    """This tracker records an MLflow run: the recipe as parameters, the epochs, and the final metrics.

    The environment variable MLFLOW_TRACKING_URI says where the run is stored.
    """

    def __init__(self, run: str, parameters: dict[str, Any]) -> None:
        import mlflow

        self._client = mlflow.MlflowClient()
        name = "tledge"
        experiment = self._client.get_experiment_by_name(name)
        number = experiment.experiment_id if experiment else self._client.create_experiment(name)
        self._run = self._client.create_run(number, run_name=run).info.run_id
        for key, value in parameters.items():
            self._client.log_param(self._run, key, value)

    def epoch(self, number: int, row: Row) -> None:
        for name, value in row.items():
            self._client.log_metric(self._run, name, value, step=number)

    def end(self, manifest: Manifest) -> None:
        for split, metrics in manifest.metrics.items():
            self._client.log_metric(self._run, f"{split}_accuracy", metrics.accuracy)
            self._client.log_metric(self._run, f"{split}_f1_macro", metrics.f1_macro)
        self._client.set_terminated(self._run)

    def abandon(self) -> None:
        self._client.set_terminated(self._run, status="FAILED")


def require_trackers(tensorboard: Path | None, mlflow: bool) -> None:
    """Raise EnvironmentFault, before a training starts, where a tracker that was asked for can't work."""
    if tensorboard is not None:
        require_folder(tensorboard, _ANOTHER)
    if mlflow and importlib.util.find_spec("mlflow") is None:
        raise EnvironmentFault("--mlflow needs the extra mlflow (in a checkout of tledge: pip install '.[mlflow]')")


@contextlib.contextmanager
def trackers(run: str, recipe: dict[str, Any], tensorboard: Path | None, mlflow: bool) -> Iterator[list[Tracker]]:
    """Yield the trackers that the options ask for, and abandon them where the block raises.

    Precondition: :func:`require_trackers` accepted the same arguments.
    """
    chosen: list[Tracker] = []
    if tensorboard is not None:
        chosen.append(TensorBoard(tensorboard, run))
    if mlflow:
        chosen.append(MLflow(run, recipe))
    try:
        yield chosen
    except BaseException:
        for tracker in chosen:
            tracker.abandon()
        raise


def told(chosen: Sequence[Tracker]) -> Callable[[int, Row], None]:
    """Return a function that reports the end of an epoch to all of ``chosen``."""

    def tell(number: int, row: Row) -> None:
        for tracker in chosen:
            tracker.epoch(number, row)

    return tell
