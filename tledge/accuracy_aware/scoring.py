"""Files scored on the validation photos, each in a process of its own, against the original's answers to the same photos."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tledge.datasets.prepare import load_split
from tledge.errors import ArtifactError, InputError
from tledge.progress import Progress
from tledge.room import require_space
from tledge.run import Run
from tledge.runtimes import runtimes_for
from tledge.runtimes.launch import ORIGINAL, WorkerFailed
from tledge.verification.certification import Certification, certify
from tledge.verification.latency import Rounds
from tledge.verification.measure import Answers, Bench, Task, Timed, TimeLimits
from tledge.verification.probabilities import num_not_finite, why_no_probabilities

_ROUNDS = Rounds("quick", rounds=3, runs_a_round=10, warmup_limit=50)


@dataclass(frozen=True)
class Score:
    """How a file answers. ``drop``: against the budget, on the same photos; ``p50_ms``: None where it was not timed."""

    accuracy: float
    drop: Certification
    p50_ms: float | None


class Judge:
    """The validation photos of a run, laid out for processes, and the classes that the original gives them."""

    def __init__(self, run: Run, folder: Path, progress: Progress) -> None:
        """``folder``: for files of its own. Raises InputError where there are no validation photos."""
        photos = load_split(run, "validation", progress)
        if not len(photos.labels):
            raise InputError("the validation split is empty, and --max-drop is judged by it; build on more photos")
        size = run.manifest.backbone.input_size
        require_space(folder, len(photos.pixels) * size**2 * 3)
        path = folder / "photos"
        with path.open("wb") as file:
            for batch in photos.pixels.batches(64):
                file.write(np.ascontiguousarray(batch).tobytes())
        self._bench = Bench(folder, path, len(photos.labels), size, len(run.manifest.labels), TimeLimits())
        self._labels, self._folder, self._progress = photos.labels, folder, progress
        task = Task("original", run.folder / "model", "tensorflow", "", ORIGINAL)
        (answers,) = self._bench.answers([task], progress, "the original's answers to the validation photos").values()
        if isinstance(answers, WorkerFailed):
            raise ArtifactError(f"{task.artifact}: the original does not run on this CPU: {answers}")
        if num_not_finite(answers):
            raise ArtifactError(f"{task.artifact}: the original's output is not finite on this CPU")
        self._was_right = self._is_right(answers)

    @property
    def num_photos(self) -> int:
        """How many there are to judge by."""
        return len(self._labels)

    @property
    def original_accuracy(self) -> float:
        """As a fraction."""
        return float(np.mean(self._was_right))

    def score(self, name: str, file: str, data: bytes, budget_points: float) -> Score | WorkerFailed:
        """Run a file of this content; ``file``: its name, whose suffix tells the runtime."""
        path = self._folder / file
        path.write_bytes(data)
        task = Task(name, path, runtimes_for(path)[0].name)
        (answers,) = self._bench.answers([task], self._progress, f"{name}: answers").values()
        if isinstance(answers, WorkerFailed):
            return answers
        if problem := why_no_probabilities(answers):
            return WorkerFailed(problem)
        is_right = self._is_right(answers)
        drop = certify(
            int(np.sum(self._was_right & ~is_right)),
            int(np.sum(~self._was_right & is_right)),
            self.num_photos,
            budget_points,
        )
        timed = self._bench.latencies([task], 1, _ROUNDS, self._progress).timed[task]
        return Score(float(np.mean(is_right)), drop, timed.latency.p50_ms if isinstance(timed, Timed) else None)

    def _is_right(self, answers: Answers) -> npt.NDArray[np.bool_]:
        return np.asarray(np.argmax(answers, axis=1) == self._labels)
