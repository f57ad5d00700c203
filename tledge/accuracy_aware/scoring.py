"""This module scores artifacts on the validation photos against the original.

Each artifact runs in a process of its own. The original answers the same photos.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tledge.bench.answers import Floats, probabilities_or_fault, require_logits
from tledge.bench.bench import Bench, Runnable, Timed, original_of
from tledge.bench.latency import Rounds
from tledge.bench.photos import lay_out
from tledge.datasets.run_photos import load_split
from tledge.errors import InputError
from tledge.progress import Progress
from tledge.run import Run
from tledge.runtimes import runtimes_for
from tledge.verification.certification import Certification, certify
from tledge.workers.place import Here
from tledge.workers.process import WorkerFailed

_ROUNDS = Rounds("quick", rounds=3, runs_a_round=10, warmup_limit=50)


@dataclass(frozen=True)
class Score:
    """A score says how accurate and how fast one artifact is on the validation photos.

    ``accuracy`` is top-1, from 0 to 1. ``drop`` compares the artifact with the original on the same photos and with
    the budget. ``p50_ms`` is None where the latency was not measured.
    """

    accuracy: float
    drop: Certification
    p50_ms: float | None


class Judge:
    """A judge scores artifacts on the validation photos of a run.

    It lays out the photos for worker processes and keeps on which of them the original is right.
    """

    def __init__(self, run: Run, folder: Path, progress: Progress) -> None:
        """Lay out the validation photos and run the original on them.

        The judge writes its files into ``folder``. Raises InputError where the validation split is empty.
        """
        photos = load_split(run, "validation", progress)
        if not len(photos.labels):
            raise InputError("the validation split is empty, and --max-drop is judged by it. Build on more photos.")
        pixels, size = photos.pixels, run.manifest.backbone.input_size
        laid_out = lay_out(folder / "photos", pixels.batches(64), len(pixels), size, progress, "laying out photos")
        self._bench = Bench(Here(folder), laid_out, len(run.manifest.labels))
        self._labels, self._folder, self._progress = photos.labels, folder, progress
        original = original_of(run)
        step = "the original's answers to the validation photos"
        (answers,) = self._bench.answers([original], progress, step).values()
        self._was_right = self._is_right(require_logits(answers, original.path))

    @property
    def num_photos(self) -> int:
        """Return the number of validation photos."""
        return len(self._labels)

    @property
    def original_accuracy(self) -> float:
        """Return the original's top-1 accuracy on the validation photos, from 0 to 1."""
        return float(np.mean(self._was_right))

    def score(self, name: str, file: str, data: bytes, max_drop_points: float) -> Score | WorkerFailed:
        """Score an artifact with the content ``data``, or return the failure of its process.

        ``file`` is the artifact's file name, whose suffix decides the runtime.
        """
        path = self._folder / file
        path.write_bytes(data)
        model = Runnable(name, path, runtimes_for(path)[0].name)
        (given,) = self._bench.answers([model], self._progress, f"{name}: answers").values()
        answers = probabilities_or_fault(given)
        if isinstance(answers, WorkerFailed):
            return answers
        is_right = self._is_right(answers)
        drop = certify(
            int(np.sum(self._was_right & ~is_right)),
            int(np.sum(~self._was_right & is_right)),
            self.num_photos,
            max_drop_points,
        )
        timed = self._bench.latencies([model], 1, _ROUNDS, self._progress).timed[model]
        return Score(float(np.mean(is_right)), drop, timed.latency.p50_ms if isinstance(timed, Timed) else None)

    def _is_right(self, answers: Floats) -> npt.NDArray[np.bool_]:
        return np.asarray(np.argmax(answers, axis=1) == self._labels)
