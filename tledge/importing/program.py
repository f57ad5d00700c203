"""This program opens another program's model in a process of its own: ``python -m tledge.importing.program JOB PARENT_PID``.

The job's ``runtime`` names the format. Photos, answers and layers pass through files. The process is confined before the model
is opened.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tledge.backbones.described import to_files
from tledge.importing.foreign import LayersUnknown, Refused, json_of
from tledge.normalization import LUMA
from tledge.workers.worker import Job, Worker, serve

_BATCH = 16
NETWORK = "network"  # the name of the described structure among the arrays that are written


class ModelWorker(Worker):
    """A ``ModelWorker`` opens the model, and runs the commands on it."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        # formats/NAME.py is imported by its name here, so that no other format's framework is loaded.
        self._format = importlib.import_module(f"tledge.importing.formats.{job.runtime}").FORMAT

    def commands(self) -> dict[str, Callable[..., dict[str, Any]]]:
        return {"open": self.open, "answers_to": self.answers_to, "describe": self.describe, "save": self.save}

    def open(self) -> dict[str, Any]:
        """Open the model, and say what it takes. The key ``refused`` says why it can't be taken."""
        try:
            self._model = self._format.open(Path(self._job.artifact))
            return json_of(self._model.taken())
        except Refused as error:
            return {"refused": str(error)}

    def answers_to(self, input_size: int, channels: int, scale: str, offset: str, is_bgr: int) -> dict[str, Any]:
        """Write the logits of the photos in ``job.pixels``, uint8 RGB (N, S, S, 3), to ``job.outputs``.

        The model is given ``pixel * scale + offset``, where ``scale`` and ``offset`` are three numbers with commas between, in the
        order R, G, B. With ``is_bgr`` the channels are turned around afterwards. One channel is weighted by ``LUMA``.
        """
        pixels = np.fromfile(self._job.pixels, np.uint8).reshape(-1, input_size, input_size, 3)
        factor, summand = (np.array([float(one) for one in text.split(",")], np.float32) for text in (scale, offset))
        width = 0
        with Path(self._job.outputs).open("wb") as out:
            for first in range(0, len(pixels), _BATCH):
                images = pixels[first : first + _BATCH].astype(np.float32)
                if channels == 1:
                    images = images @ np.array(LUMA, np.float32)[:, None]
                images = images * factor[:channels] + summand[:channels]
                answers = self._model.answers(np.ascontiguousarray(images[..., ::-1] if is_bgr else images))
                width = answers.shape[1]
                out.write(np.ascontiguousarray(answers, np.float32).tobytes())
        return {"num_outputs": width}

    def describe(self, input_size: int) -> dict[str, Any]:
        """Write the model's layers and weights to ``job.outputs``. The key ``unknown`` says why they are not known."""
        try:
            described, arrays = to_files(self._model.network(input_size))
        except LayersUnknown as error:
            return {"unknown": str(error)}
        held: dict[str, Any] = {NETWORK: np.frombuffer(described, np.uint8), **arrays}
        with Path(self._job.outputs).open("wb") as out:
            np.savez(out, **held)
        return {}

    def save(self) -> dict[str, Any]:
        """Make a SavedModel of the model, and say where. The key ``folder`` is left out where there is none."""
        folder = self._model.saved_model(Path(tempfile.gettempdir(), "saved"))
        return {} if folder is None else {"folder": str(folder)}


def main() -> None:
    serve(ModelWorker)


if __name__ == "__main__":
    main()
