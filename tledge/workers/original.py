"""The original's SavedModel on this CPU, in its own process: ``python -m tledge.workers.original JOB PARENT_PID``.

It takes the commands of an artifact's worker, under the same limits; TensorFlow answers instead of a device runtime. All
photos are answered in batches, by logits; single photos are timed, to probabilities.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.errors import InputError
from tledge.saved_models import load_original
from tledge.tensorflow_setup import tensorflow
from tledge.workers.worker import Worker, serve

_BATCH = 32


class SavedModelSession:
    """A loaded SavedModel of a run."""

    def __init__(self, folder: str, num_threads: int) -> None:
        self._tf = tensorflow()
        self._tf.config.threading.set_intra_op_parallelism_threads(num_threads)
        self._serve = load_original(Path(folder)).signatures["serving_default"]

    def predict(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """uint8 RGB (1, S, S, 3) to the probabilities, float32 (C,)."""
        return np.asarray(self._answer(pixels)["probabilities"].numpy()[0], np.float32)

    def logits(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """uint8 RGB (N, S, S, 3) to float32 (N, C)."""
        return np.asarray(self._answer(pixels)["logits"].numpy(), np.float32)

    def _answer(self, pixels: npt.NDArray[np.uint8]) -> Any:
        return self._serve(pixels=self._tf.constant(pixels))


class OriginalWorker(Worker):
    """The commands on the original."""

    def load(self) -> dict[str, Any]:
        """As of an artifact; of a SavedModel that is not to be loaded, ``refused``, a sentence."""
        try:
            return super().load()
        except InputError as error:
            return {"refused": str(error)}

    def open(self) -> SavedModelSession:
        self._model = SavedModelSession(self._job.artifact, self._job.num_threads)
        return self._model

    def answers(self) -> Iterator[npt.NDArray[np.float32]]:
        for first in range(0, self._job.num_photos, _BATCH):
            yield self._model.logits(self.photos(first, _BATCH))


def main() -> None:
    serve(OriginalWorker)


if __name__ == "__main__":
    main()
