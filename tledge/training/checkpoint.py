"""A checkpoint keeps the state of a training on the disk after each epoch, so that a killed build can be resumed."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tledge.errors import ArtifactError
from tledge.files import atomic_write
from tledge.training.loop import State
from tledge.training.method import Task

STATE = "state.npz"


def identity(task: Task) -> str:
    """Return the hex SHA-256 of what a training starts from.

    It covers the photos, their order and splits, the backbone, the input size, the recipe and the seed.
    """
    parts = {
        "photos": hashlib.sha256(b"".join(task.data.content_sha256)).hexdigest(),
        "splits": {name: record.sha256 for name, record in task.data.split_records().items()},
        "backbone": task.backbone.sha256,
        "input_size": task.backbone.input_size,
        "recipe": task.recipe.as_json(),
        "seed": task.seed,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class Checkpoint:
    """A checkpoint saves and restores the state of one training.

    ``folder`` exists and keeps the state; with None no state is kept. ``identity`` names the training that the state
    belongs to. ``from_chief`` gives every worker of a training the file of the chief, see
    :meth:`tledge.training.placement.Workers.from_chief`.
    """

    def __init__(
        self, folder: Path | None, identity: str, from_chief: Callable[[bytes], bytes] = lambda data: data
    ) -> None:
        self._path = folder / STATE if folder else None
        self._identity = identity
        self._from_chief = from_chief

    def check(self) -> None:
        """Raise ArtifactError, before time is spent on the training, for a state that is damaged or another training's.

        All workers of a training call it at the same point.
        """
        if data := self._read():
            with self._opened(data):
                pass

    def restore(self, network: Any, optimizer: Any, average: Any) -> State:
        """Set network, optimizer and average to the last saved epoch, and return the state that was reached.

        Returns a new state where none was saved. Raises ArtifactError for a file that is damaged or does not fit the
        network.
        """
        data = self._read()
        if not data:
            return State()
        with self._opened(data) as (stored, progress):
            for kind, variables in _variables(network, optimizer, average).items():
                for number, variable in enumerate(variables):
                    variable.assign(stored[f"{kind}.{number}"])
            best = [stored[f"best.{number}"] for number in range(len(network.weights))]
        return State(progress["history"], progress["best_epoch"], best, progress["learning_rate"])

    def _read(self) -> bytes:
        """Return the state's file behind one more byte, or nothing where there is no file.

        The byte tells an empty file, which is damaged, from a missing one.
        """
        return self._from_chief(b"1" + self._path.read_bytes() if self._path and self._path.is_file() else b"")

    @contextlib.contextmanager
    def _opened(self, data: bytes) -> Iterator[tuple[Any, dict[str, Any]]]:
        """Open a state, and yield its arrays and the progress that was reached.

        Raises ArtifactError for anything that is found wrong with the state inside the block.
        """
        try:
            with np.load(io.BytesIO(data[1:]), allow_pickle=False) as stored:
                progress = json.loads(bytes(stored["progress"]))
                if progress["identity"] != self._identity:
                    raise ValueError("of other photos, or another backbone, recipe or seed")
                yield stored, progress
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            where = self._path or f"the chief's {STATE}"
            raise ArtifactError(
                f"{where}: not a state of this training ({error}). Remove its folder and build again."
            ) from error

    def save(self, network: Any, optimizer: Any, average: Any, state: State) -> None:
        """Replace the saved state by this one."""
        # Values are read even where no state is kept: all workers must read the statistics of batch normalizations at once.
        arrays = {
            f"{kind}.{number}": variable.numpy()
            for kind, variables in _variables(network, optimizer, average).items()
            for number, variable in enumerate(variables)
        }
        arrays |= {f"best.{number}": values for number, values in enumerate(state.best_weights)}
        progress = {
            "identity": self._identity,
            "history": state.history,
            "best_epoch": state.best_epoch,
            "learning_rate": state.learning_rate,
        }
        arrays["progress"] = np.frombuffer(json.dumps(progress).encode(), np.uint8)
        if self._path is None:
            return
        out = io.BytesIO()
        np.savez(out, **arrays)
        atomic_write(self._path, out.getvalue())


def _variables(network: Any, optimizer: Any, average: Any) -> dict[str, list[Any]]:
    """Collect every variable that an epoch changes."""
    averaged = [*average.values, average.steps] if average else []
    return {"network": network.weights, "optimizer": optimizer.variables, "average": averaged}
