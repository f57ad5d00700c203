"""This program runs the original's SavedModel on this CPU: ``python -m tledge.workers.original JOB PARENT_PID``.

The program takes the commands that an artifact's worker takes, and runs under the same limits. TensorFlow answers in
place of a device runtime. All photos are answered in batches, with logits. Single photos are timed, with probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.errors import ArtifactError, InputError
from tledge.saved_models import load_original
from tledge.tensorflow_setup import tensorflow
from tledge.workers.worker import Worker, serve

_BATCH = 32


class SavedModelSession:
    """This session answers with the SavedModel of a run."""

    def __init__(self, folder: str, num_threads: int) -> None:
        self._tf = tensorflow()
        self._tf.config.threading.set_intra_op_parallelism_threads(num_threads)
        self._serve = load_original(Path(folder)).signatures["serving_default"]

    def predict(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Answer one photo, uint8 RGB (1, S, S, 3), with probabilities, float32 (C,)."""
        return np.asarray(self._answer(pixels)["probabilities"].numpy()[0], np.float32)

    def logits(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Answer photos, uint8 RGB (N, S, S, 3), with logits, float32 (N, C)."""
        return np.asarray(self._answer(pixels)["logits"].numpy(), np.float32)

    def _answer(self, pixels: npt.NDArray[np.uint8]) -> Any:
        return self._serve(pixels=self._tf.constant(pixels))


class OriginalWorker(Worker):
    """This worker runs every command of a worker on the original."""

    def load(self) -> dict[str, Any]:
        """Load the original, and time this as for an artifact.

        If tledge refuses the SavedModel, the only key of the answer is ``refused``, a sentence that says why. For a damaged
        SavedModel the only key is ``damaged``.
        """
        try:
            return super().load()
        except InputError as error:
            return {"refused": str(error)}
        except ArtifactError as error:
            return {"damaged": str(error)}

    def opener(self) -> Callable[[], SavedModelSession]:
        return self._open

    def _open(self) -> SavedModelSession:
        self._model = SavedModelSession(self._job.artifact, self._job.num_threads)
        return self._model

    def answers(self) -> Iterator[npt.NDArray[np.float32]]:
        for first in range(0, self._job.num_photos, _BATCH):
            yield self._model.logits(self.photos(first, _BATCH))


def main() -> None:
    serve(OriginalWorker)


if __name__ == "__main__":
    main()
